//! Attention masks: those that transformers builds, and how they are drawn.

mod common;

use common::{fixtures, json, processor, read, tensor, usize_of};
use paligemma_processor::{AttentionMask, Cell, Layers};
use safetensors::SafeTensors;

/// The tokens of the picture in transformers' documentation.
const DOCUMENTED: [&str; 14] = [
    "<image>", "<image>", "<image>", "<image>", "<image>", "<bos>", "▁What", "▁is", "▁in", "▁this",
    "▁image", "?", "\n", "<eos>",
];

fn documented(window: Option<usize>) -> AttentionMask {
    AttentionMask::new(DOCUMENTED.map(str::to_owned).to_vec(), 13, window)
}

#[test]
fn masks_are_those_that_transformers_builds() {
    for (model, kinds) in [("pg1_mqa", 1), ("pg2_odd", 2)] {
        let folder = fixtures().join("attention_mask");
        let described = json(folder.join(format!("{model}.json")));
        let bytes = read(folder.join(format!("{model}.safetensors")));
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let window = described["window"].as_u64().map(|window| window as usize);
        let processor = processor(model);
        let mut compared = 0;
        for (name, case) in described["cases"].as_object().expect("cases") {
            let text = |field: &str| case[field].as_str().expect("a text").to_owned();
            let (prompt, suffix) = (text("prompt"), text("suffix"));
            // Who writes no `<image>` means one before the prompt, and `<img>` is the same.
            let written = prompt.replace("<image>", "<img>");
            let bare = prompt
                .strip_prefix("<image>")
                .filter(|it| !it.contains("<image>"));
            for prompt in [Some(prompt.as_str()), Some(&written), bare]
                .into_iter()
                .flatten()
            {
                let tokens = processor.image_tokens();
                let mask = processor.attention_mask(prompt, &suffix, 1, tokens, window);
                let mask = mask.expect("a mask");
                let wanted: Vec<&str> = case["tokens"]
                    .as_array()
                    .expect("tokens")
                    .iter()
                    .map(|token| token.as_str().expect("a token"))
                    .collect();
                assert_eq!(mask.tokens(), wanted, "{model} {name}");
                assert_eq!(mask.prefix(), usize_of(&case["prefix"]), "{model} {name}");
                for (kind, layers) in [
                    ("full_attention", Layers::Full),
                    ("sliding_attention", Layers::Sliding),
                ] {
                    let key = format!("{name}.{kind}");
                    if file.tensor(&key).is_err() {
                        continue;
                    }
                    let (shape, cells) = tensor(&file, &key);
                    assert_eq!(shape, [wanted.len(), wanted.len()]);
                    for (index, cell) in cells.iter().enumerate() {
                        let (row, column) = (index / wanted.len(), index % wanted.len());
                        let visible = mask.is_visible(layers, row, column);
                        assert_eq!(visible, *cell == 1, "{model} {key} {row} {column}");
                    }
                    compared += 1;
                }
            }
        }
        // `question` and `space` in three spellings, `two` in two.
        assert_eq!(compared, 8 * kinds, "{model}");
    }
}

#[test]
fn a_window_hides_what_is_far_back_from_the_suffix_alone() {
    // The suffix of `question` is longer than the window of nine.
    let bytes = read(fixtures().join("attention_mask/pg2_odd.safetensors"));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let (_, full) = tensor(&file, "question.full_attention");
    let (_, sliding) = tensor(&file, "question.sliding_attention");
    assert_ne!(full, sliding);
}

#[test]
fn the_documented_picture() {
    let mask = documented(None);
    for row in 0..14 {
        for column in 0..14 {
            let visible = mask.is_visible(Layers::Full, row, column);
            assert_eq!(visible, row == 13 || column < 13, "{row} {column}");
        }
    }
    assert_eq!(mask.cell(Layers::Full, 0, 4), Cell::Image);
    assert_eq!(mask.cell(Layers::Full, 2, 2), Cell::Image);
    assert_eq!(mask.cell(Layers::Full, 0, 5), Cell::Visible);
    assert_eq!(mask.cell(Layers::Full, 7, 7), Cell::Diagonal);
    assert_eq!(mask.cell(Layers::Full, 12, 13), Cell::Hidden);

    let text = mask.to_text("paligemma:google/paligemma2-3b-mix-224", false);
    let lines: Vec<&str> = text.lines().collect();
    // Border, title, border, legend, heading, two lines for the columns' numbers, 14 rows.
    assert_eq!(lines.len(), 3 + 1 + 1 + 2 + 14, "{text}");
    assert_eq!(lines[0], lines[2]);
    assert!(lines[1].contains("paligemma:google/paligemma2-3b-mix-224"));
    assert_eq!(lines[4].trim(), "Attention Matrix");
    assert_eq!(lines[5], "");
    let all = vec!["■"; 14].join(" ");
    let but_the_last = format!("{} ⬚", vec!["■"; 13].join(" "));
    assert_eq!(lines[7], format!("'<image>':  0 {but_the_last}    |"));
    assert_eq!(lines[13], format!("'▁What'  :  6 {but_the_last}    |"));
    assert_eq!(lines[19], format!("'\\n'     : 12 {but_the_last}    |"));
    assert_eq!(lines[20], format!("'<eos>'  : 13 {all}    |"));
    assert!(!text.contains('\x1b'));
}

#[test]
fn a_second_matrix_shows_the_window() {
    let text = documented(Some(5)).to_text("x", false);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[4].contains("Sliding Window Mask"));
    // Tens, then ones, one digit a line.
    assert!(lines[5].trim_start().starts_with("1 1 1 1"), "{}", lines[5]);
    assert!(lines[6].trim_start().starts_with("0 1 2 3"), "{}", lines[6]);
    let (_, second) = lines[20].rsplit_once(" | ").expect("two matrices");
    let cells: Vec<&str> = second.split_whitespace().collect();
    assert_eq!(cells, [vec!["⬚"; 9], vec!["■"; 5]].concat());
    // The prefix sees all of itself whatever the window.
    let (_, first) = lines[7].rsplit_once(" | ").expect("two matrices");
    assert_eq!(first.matches('■').count(), 13);
}

#[test]
fn colours_mark_the_pictures_and_the_diagonal() {
    let text = documented(None).to_text("x", true);
    let rows = || text.lines().skip(7);
    let images: usize = rows().map(|row| row.matches("\x1b[93m■").count()).sum();
    assert_eq!(images, 25);
    let diagonal: usize = rows().map(|row| row.matches("\x1b[92m■").count()).sum();
    assert_eq!(diagonal, 9);
    assert_eq!(
        text.matches("\x1b[9").count() + 1,
        text.matches("\x1b[0m").count()
    );
}

#[test]
fn the_drawing_has_a_cell_for_each_that_is_seen() {
    let svg = documented(None).to_svg("a <b> & \"c\"");
    assert!(svg.contains("<title>a &lt;b&gt; &amp; &quot;c&quot;</title>"));
    assert!(svg.contains("&lt;image&gt;"));
    let count = |class: &str| svg.matches(&format!("<rect class=\"{class}\"")).count();
    assert_eq!(count("image"), 25);
    assert_eq!(count("diagonal"), 9);
    // 13 × 13 and a last row of 14, less the others.
    assert_eq!(count("visible"), 169 + 14 - 25 - 9);
    assert_eq!(count("hidden"), 1);
    assert_eq!(
        documented(Some(3)).to_svg("").matches("\"hidden\"").count(),
        2
    );
}

#[test]
fn a_drawing_of_many_tokens_stays_small() {
    let mut tokens = vec!["<image>".to_owned(); 1024];
    tokens.extend(["<bos>", "\u{1b}[31m<script>", "\n", "x", "<eos>"].map(str::to_owned));
    let mask = AttentionMask::new(tokens, 1027, None);
    let svg = mask.to_svg("many");
    assert!(svg.len() < 600_000, "{}", svg.len());
    assert!(svg.contains("image × 1024"));
    assert!(!svg.contains("<script") && !svg.contains('\u{1b}'));
    // A terminal is told nothing by a token either.
    assert!(!mask.to_text("many", false).contains('\u{1b}'));
}

#[test]
fn masks_that_nobody_could_look_at_are_refused() {
    let processor = processor("pg1_mqa");
    let ask = |prompt: &str, images, tokens| {
        processor
            .attention_mask(prompt, "", images, tokens, None)
            .map(|_| ())
    };
    for (prompt, images, tokens) in [
        ("x", 1, 4096),
        ("x", usize::MAX, usize::MAX),
        ("<image><image><image>", 1, 1024),
        (&"x ".repeat(5000), 1, 5),
    ] {
        let error = ask(prompt, images, tokens)
            .expect_err("too many")
            .to_string();
        assert!(error.contains("2048") && error.contains(": "), "{error}");
    }
    assert!(ask("x", 0, 5).is_err());
    assert!(ask("", 1, 1).is_ok());
}
