//! What a tokenizer of PaliGemma's full size takes. One test, since the allocator counts for all.

use paligemma_processor::Tokenizer;
use paligemma_tests::synthetic::tokenizer::{Spelling, VOCABULARY, tokenizer_json};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Merges at most, as the generator's own test has it.
const MERGES: usize = 600_000;

/// Bytes of a hash table of the standard design: a power of two of places, at most seven eighths
/// of them taken, and one byte beside each.
fn table(entries: usize, entry: usize) -> usize {
    (entries * 8 / 7).next_power_of_two() * (entry + 1)
}

#[test]
fn a_tokenizer_of_full_size_is_read_in_bounded_memory() {
    // The library keeps token to id, id to token, and pair of ids to rank and id; tokens are eight
    // bytes on average.
    let vocabulary = table(VOCABULARY, size_of::<(String, u32)>()) + 8 * VOCABULARY;
    let merges = table(MERGES, size_of::<[u32; 4]>());
    // A MB for the added tokens and the automaton that finds them.
    let kept_bound = 2 * vocabulary + merges + (1 << 20);
    // While it makes its last table, it still has the pairs of strings, eight bytes a pair, and the
    // half of that table that is being outgrown.
    let pairs = MERGES * (size_of::<(String, String)>() + 8);
    let build_bound = 2 * vocabulary + pairs + merges + merges / 2;
    for spelling in [Spelling::Pairs, Spelling::Lines] {
        let json = tokenizer_json(spelling).into_bytes();
        // While the file is there: the first table (while it grows, half of it again), the text
        // of the merges and their lengths (while these grow, half of them again).
        let merged = MERGES.next_power_of_two() * size_of::<[u32; 2]>() + (8 << 20);
        let read_bound = json.capacity() + (vocabulary + merged) * 3 / 2;
        let before = HEAP.current_usage() - json.capacity();
        HEAP.reset_peak_usage();
        let tokenizer = Tokenizer::from_json(json).unwrap();
        let (peak, kept) = (HEAP.peak_usage() - before, HEAP.current_usage() - before);
        let peak_bound = read_bound.max(build_bound);
        assert!(peak <= peak_bound, "{spelling:?}: {peak} > {peak_bound}");
        assert!(kept <= kept_bound, "{spelling:?}: {kept} > {kept_bound}");

        assert_eq!(tokenizer.vocab_size(), VOCABULARY + 1);
        assert_eq!(tokenizer.image() as usize, VOCABULARY);
        let text = "answer en where is the cow standing?\n";
        let ids = tokenizer.encode(text).unwrap();
        let tokens: Vec<_> = ids
            .iter()
            .map(|&id| tokenizer.decode(&[id], false).unwrap())
            .collect();
        let words = [
            "answer",
            " en",
            " where",
            " is",
            " the",
            " cow",
            " standing",
            "?",
            "\n",
        ];
        assert_eq!(tokens, words);
        assert_eq!(tokenizer.encode("detect cat").unwrap().len(), 2);
    }
}
