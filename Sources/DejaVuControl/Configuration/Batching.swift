/// How sequences are put together into passes.
package enum Batching: Hashable, Codable, Sendable {
    /// Steps first, in microbatches formed anew for each pass, then chunks of prompts within the budgets.
    case continuous
    /// The paper's baseline, to measure against: whole microbatches of at most so many sequences, as many as there are
    /// stages, in cyclic order; one is replaced when all of it has ended, and nothing but the rows that a pass may have
    /// cuts prompts.
    case paper(sequences: Int)
}
