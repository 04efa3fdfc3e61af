//! The vocabulary of a made-up tokenizer, in Gemma's order and of Gemma's size.

use std::collections::HashSet;

/// SentencePiece's mark for a space.
pub(super) const SPACE: char = '\u{2581}';
/// Tokens from `<pad>` to `<end_of_turn>`, which are special.
pub(super) const SPECIAL: usize = 108;
/// Tokens before the byte pieces: the special ones, runs of newlines and of spaces, HTML tags.
pub(super) const HEAD: usize = 217;
/// Where the learnt pieces begin: behind 256 byte pieces.
pub(super) const LEARNT: usize = HEAD + 256;
/// Where the single characters begin.
pub(super) const CHARACTERS: usize = 235_248;
/// Where the location and segmentation tokens begin.
pub(super) const LOCATIONS: usize = 256_000;

/// Words that are one token, alone and behind a space, so that prompts come out in words.
const WORDS: &str = "the a is are on in of and to what where how many this that answer caption \
    describe detect segment count ocr en es fr de image picture photo color cat dog car cow bee bird \
    person table chair ball tree house red green blue standing small large left right one two three";

/// All 257 152 tokens, by id.
pub(super) fn vocabulary() -> Vec<String> {
    let mut tokens = head();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(learnt());
    tokens.extend(characters());
    tokens.extend((0..1024).map(|i| format!("<loc{i:04}>")));
    tokens.extend((0..128).map(|i| format!("<seg{i:03}>")));
    tokens
}

fn head() -> Vec<String> {
    let first = [
        "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<2mass>", "[@BOS@]",
    ];
    let mut tokens: Vec<String> = first.map(str::to_owned).to_vec();
    tokens.extend((0..99).map(|i| format!("<unused{i}>")));
    tokens.extend(["<start_of_turn>", "<end_of_turn>"].map(str::to_owned));
    tokens.extend((1..=31).map(|run| "\n".repeat(run)));
    tokens.extend((2..=31).map(|run| SPACE.to_string().repeat(run)));
    let table = "table caption thead tbody tfoot tr th td";
    let text = "h1 h2 h3 h4 h5 h6 blockquote strong em b i u s sub sup code";
    for tags in [table, text] {
        tokens.extend(tags.split(' ').map(|tag| format!("<{tag}>")));
        tokens.extend(tags.split(' ').map(|tag| format!("</{tag}>")));
    }
    tokens
}

/// Pieces of several characters. Each can be made from two that are in the vocabulary: a word from
/// its beginning, words of syllables from shorter ones.
fn learnt() -> Vec<String> {
    let mut pieces = Pieces::default();
    for word in WORDS.split_whitespace() {
        let spaced = format!("{SPACE}{word}");
        for word in [word, &spaced] {
            for (end, _) in word.char_indices().skip(2) {
                pieces.add(&word[..end]);
            }
            // A word of one character is among the characters.
            if word.chars().nth(1).is_some() {
                pieces.add(word);
            }
        }
    }
    let syllables: Vec<String> = "bcdfghjklmnpqrstvwxz"
        .chars()
        .flat_map(|consonant| {
            "aeiou"
                .chars()
                .map(move |vowel| format!("{consonant}{vowel}"))
        })
        .collect();
    let spell =
        |word: &[usize]| -> String { word.iter().map(|&s| syllables[s].as_str()).collect() };
    let all = 0..syllables.len();
    let ones: Vec<_> = all.clone().map(|a| vec![a]).collect();
    let longer = |words: &[Vec<usize>], keep: &dyn Fn(&[usize]) -> bool| -> Vec<Vec<usize>> {
        let longer = words.iter().flat_map(|word| {
            all.clone()
                .map(move |last| [word.as_slice(), &[last]].concat())
        });
        longer.filter(|word| keep(word)).collect()
    };
    let twos = longer(&ones, &|_| true);
    // The shares make about two and a half merges a piece, as in the published files.
    let threes = longer(&twos, &|word| share(word) < 0.073);
    let known: HashSet<&[usize]> = threes.iter().map(Vec::as_slice).collect();
    let fours = longer(&threes, &|word| {
        known.contains(&word[1..]) && share(word) < 0.042
    });
    for words in [&ones, &twos, &threes, &fours] {
        for word in words {
            pieces.add(&spell(word));
        }
        for word in words {
            pieces.add(&format!("{SPACE}{}", spell(word)));
        }
    }
    // Pairs of characters of three bytes fill the rest.
    let wide: Vec<char> = ('\u{4E00}'..='\u{5FFF}').collect();
    for i in 0.. {
        if pieces.list.len() == CHARACTERS - LEARNT {
            break;
        }
        let second = wide[(i * 31 + i / wide.len()) % wide.len()];
        pieces.add(&format!("{}{second}", wide[i % wide.len()]));
    }
    pieces.list
}

/// Text without repetition, in order.
#[derive(Default)]
struct Pieces {
    list: Vec<String>,
    known: HashSet<String>,
}

impl Pieces {
    fn add(&mut self, piece: &str) {
        if self.known.insert(piece.to_owned()) {
            self.list.push(piece.to_owned());
        }
    }
}

/// A number in 0..1 that depends on the word alone.
fn share(word: &[usize]) -> f64 {
    let seed = word
        .iter()
        .fold(0, |seed, &syllable| seed * 101 + syllable as u64 + 1);
    super::mix(seed) as f64 / u64::MAX as f64
}

fn characters() -> Vec<String> {
    let ranges = [
        SPACE..=SPACE,
        '!'..='~',
        '\u{A1}'..='\u{17F}',
        '\u{391}'..='\u{3C9}',
        '\u{400}'..='\u{45F}',
        '\u{3041}'..='\u{3096}',
        '\u{30A1}'..='\u{30FA}',
        '\u{4E00}'..='\u{9FFF}',
    ];
    let characters = ranges.into_iter().flatten().map(String::from);
    characters.take(LOCATIONS - CHARACTERS).collect()
}
