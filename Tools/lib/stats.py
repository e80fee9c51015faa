"""Paired comparisons: interleaved samples, medians, confidence intervals of ratios, verdicts."""
import math
import statistics
import sys

PASS, FAIL, UNSURE = "pass", "fail", "not measurable here"


def interleaved(measure, names, pairs, warmup=1):
    """Calls measure(name) for each name in turn, pairs times over, so that drift hits all alike.

    The first `warmup` rounds are dropped. Every other round runs in reverse order.
    """
    samples = {name: [] for name in names}
    for round_number in range(warmup + pairs):
        for name in names if round_number % 2 == 0 else names[::-1]:
            value = measure(name)
            kept = round_number >= warmup
            print(f"  {'round ' + str(round_number - warmup + 1) if kept else 'warm-up'}: {name}", file=sys.stderr)
            if kept:
                samples[name].append(value)
    return samples


def median_interval(values, confidence=0.95):
    """Median and an interval for it from order statistics, as (median, low, high, coverage).

    It assumes no distribution. With few values even the widest interval does not reach the confidence; the coverage
    says what it does reach.
    """
    values = sorted(values)
    n = len(values)
    cut, coverage = 0, 1 - 2 * 0.5 ** n
    for k in range(1, (n + 1) // 2):
        below = sum(math.comb(n, i) for i in range(k + 1)) * 0.5 ** n
        if 1 - 2 * below < confidence:
            break
        cut, coverage = k, 1 - 2 * below
    return statistics.median(values), values[cut], values[n - 1 - cut], coverage


def compare(ours, theirs, bound, at_least):
    """Compares paired samples with a bound on ours/theirs; a dict ready for a table.

    Below five pairs nothing is sure.
    """
    ratios = [a / b for a, b in zip(ours, theirs)]
    middle, low, high, coverage = median_interval(ratios)
    return {
        "ours": statistics.median(ours), "theirs": statistics.median(theirs), "ratio": middle, "low": low, "high": high,
        "coverage": coverage, "bound": f"{'>=' if at_least else '<='} {bound:g}x",
        "verdict": verdict(low, high, bound, at_least) if coverage >= 0.9 else UNSURE,
        "samples": {"ours": ours, "theirs": theirs},
    }


def verdict(low, high, bound, at_least):
    """Pass or fail only if the whole interval is on one side of the bound."""
    if at_least:
        return PASS if low >= bound else FAIL if high < bound else UNSURE
    return PASS if high <= bound else FAIL if low > bound else UNSURE


def limit(value, bound, unit):
    """A single measurement with an upper limit, as a row."""
    return {"ours": value, "bound": f"<= {bound:g} {unit}", "verdict": PASS if value <= bound else FAIL}
