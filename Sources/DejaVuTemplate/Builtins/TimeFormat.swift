/// A wall clock time without a zone: what `datetime.now()` gives to a template.
package struct CivilTime: Hashable, Sendable {
    package var year: Int
    /// 1...12
    package var month: Int
    package var day: Int
    package var hour: Int
    package var minute: Int
    package var second: Int

    /// The fields must be those of a day that exists.
    package init(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0) {
        precondition((1...9999).contains(year) && (1...12).contains(month), "a date of the calendar")
        precondition(day >= 1 && day <= Self.days(in: month, of: year), "a date of the calendar")
        precondition((0..<24).contains(hour) && (0..<60).contains(minute) && (0...60).contains(second), "a time of day")
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
    }

    /// UTC at so many seconds after the start of 1970, clamped to the years 1...9999.
    package init(secondsSince1970 seconds: Int64) {
        let clamped = min(max(seconds, -62_135_596_800), 253_402_300_799)
        let days = Int(clamped >= 0 ? clamped / 86_400 : (clamped - 86_399) / 86_400)
        let rest = Int(clamped) - days * 86_400
        // Days are counted from 1 March of year 0, so that a leap day ends its year.
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        self.init(
            year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month: month,
            day: dayOfYear - (153 * marchMonth + 2) / 5 + 1, hour: rest / 3600, minute: rest / 60 % 60,
            second: rest % 60)
    }

    static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    static func days(in month: Int, of year: Int) -> Int {
        month == 2 ? (isLeap(year) ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
    }

    /// 1...366
    var dayOfYear: Int { (1..<month).reduce(day) { $0 + Self.days(in: $1, of: year) } }

    /// 0 is Sunday.
    var weekday: Int {
        let years = year - 1
        return (years * 365 + years / 4 - years / 100 + years / 400 + dayOfYear) % 7
    }
}

/// `strftime` in the C locale.
enum TimeFormat {
    private static let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]

    /// Nil if a directive is not known.
    static func format(_ format: String, _ time: CivilTime) -> String? {
        var result = ""
        var rest = format.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            var flag: Unicode.Scalar?
            if let next = rest.first, ["-", "_", "0", "^"].contains(next) { flag = rest.popFirst() }
            guard let directive = rest.popFirst(), let text = directiveText(directive, flag, time) else { return nil }
            result += text
        }
        return result
    }

    private static func directiveText(_ directive: Unicode.Scalar, _ flag: Unicode.Scalar?, _ time: CivilTime)
        -> String?
    {
        if let (value, width, pad) = number(directive, time) {
            let digits = String(value)
            switch flag {
            case "-": return digits
            case "_": return String(repeating: " ", count: max(0, width - digits.count)) + digits
            case "0": return String(repeating: "0", count: max(0, width - digits.count)) + digits
            default: return String(repeating: pad, count: max(0, width - digits.count)) + digits
            }
        }
        guard let text = word(directive, time) else { return nil }
        return flag == "^" ? text.uppercased() : text
    }

    private static func number(_ directive: Unicode.Scalar, _ time: CivilTime) -> (Int, width: Int, pad: String)? {
        switch directive {
        case "Y": return (time.year, 1, "0")
        case "C": return (time.year / 100, 2, "0")
        case "y": return (time.year % 100, 2, "0")
        case "m": return (time.month, 2, "0")
        case "d": return (time.day, 2, "0")
        case "e": return (time.day, 2, " ")
        case "H": return (time.hour, 2, "0")
        case "k": return (time.hour, 2, " ")
        case "I": return ((time.hour + 11) % 12 + 1, 2, "0")
        case "l": return ((time.hour + 11) % 12 + 1, 2, " ")
        case "M": return (time.minute, 2, "0")
        case "S": return (time.second, 2, "0")
        case "f": return (0, 6, "0")
        case "j": return (time.dayOfYear, 3, "0")
        case "u": return (time.weekday == 0 ? 7 : time.weekday, 1, "0")
        case "w": return (time.weekday, 1, "0")
        case "U": return ((time.dayOfYear + 6 - time.weekday) / 7, 2, "0")
        case "W": return ((time.dayOfYear + 6 - (time.weekday + 6) % 7) / 7, 2, "0")
        default: return nil
        }
    }

    private static func word(_ directive: Unicode.Scalar, _ time: CivilTime) -> String? {
        switch directive {
        case "A": return weekdays[time.weekday]
        case "a": return String(weekdays[time.weekday].prefix(3))
        case "B": return months[time.month - 1]
        case "b", "h": return String(months[time.month - 1].prefix(3))
        case "p": return time.hour < 12 ? "AM" : "PM"
        case "P": return time.hour < 12 ? "am" : "pm"
        case "z", "Z": return ""
        case "%": return "%"
        case "n": return "\n"
        case "t": return "\t"
        case "F": return format("%Y-%m-%d", time)
        case "T", "X": return format("%H:%M:%S", time)
        case "R": return format("%H:%M", time)
        case "r": return format("%I:%M:%S %p", time)
        case "D", "x": return format("%m/%d/%y", time)
        case "c": return format("%a %b %e %H:%M:%S %Y", time)
        default: return nil
        }
    }
}
