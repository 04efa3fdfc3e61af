//! The answer's text into boxes, mask codes and what is neither.
//!
//! ```text
//! <loc0256><loc0128><loc0768><loc0512><seg000>…<seg127> tabby cat ; <loc…
//!  y0       x0       y1       x1      16 codes, optional  label    separator
//! ```
//!
//! The rules are those of the parser in Google's demo (the Hugging Face Space
//! `big-vision/paligemma`), as a scanner in linear time. It differs from that parser in what is
//! stated at [`parse_answer`].

use serde::{Deserialize, Serialize};

use crate::mask::Mask;
use crate::tokenizer::{LOC_TOKENS, SEG_TOKENS};

/// Codes of a mask: a grid of 4 by 4 entries of the mask decoder's code book, row by row.
pub const MASK_CODES: usize = 16;

/// One object of an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// What the model calls it, trimmed; empty while there is no label. Repeated labels are left
    /// as they are. Text from a model: never to be used as markup.
    pub label: String,
    /// `[x0, y0, x1, y1]` in (fractional) pixels of the upright picture, `x0 <= x1` and
    /// `y0 <= y1`. A side can be zero.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// Entries of the mask decoder's code book, `[4, 4]`, for the mask inside of the box. Present
    /// if the answer has exactly 16 and a box that, as written, has a width and a height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_codes: Option<[u16; MASK_CODES]>,
    /// The location tokens as written: y0, x0, y1, x1, in 1024ths.
    #[serde(skip)]
    pub locations: [u16; 4],
    /// The mask, once the mask decoder has made it of the codes; parsing alone gives none.
    #[serde(skip)]
    pub mask: Option<Mask>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerItem {
    /// What is no object, as it was written, never empty.
    Text(String),
    /// An object.
    Object(Detection),
}

/// Takes an answer apart, for a picture of `width` by `height` pixels.
///
/// From left to right, an object is: exactly 4 location tokens, y before x; optionally 16
/// segmentation tokens; a label of anything but `;`, `<` and `>`; a `;`. White space between these
/// does not matter. What stands between objects, and what is left at the end (the incomplete object
/// of an answer that was cut, a caption), is text. So every object is there as soon as its fourth
/// location is, with a label that grows: the answer can be parsed anew at every token.
///
/// A location token is 1024ths: `v / 1024` of the side, not rounded to whole pixels. Corners that
/// come in the wrong order are put right; a box without width or height is kept. `<loc1024>` and
/// `<seg128>` are no tokens but text.
///
/// * Of five location tokens in a row the first four are an object without a label, the rest is
///   text; so 4 without a label are an object too. (Roboflow's supervision wants exactly four, a
///   space and a label of word characters, and takes none of these.)
/// * Of 17 segmentation tokens the first 16 count, the rest is text. 15 are no mask: the box stays
///   and they are text.
/// * The Space's parser appends apostrophes to labels that repeat, to colour them apart, stops at a
///   line break before an object, and leaves a `;` at the very end as text; here none of these.
///
/// ```
/// use paligemma_processor::{AnswerItem, parse_answer};
///
/// let answer = "<loc0256><loc0128><loc0768><loc0512> tabby cat ; <loc0000><loc00";
/// let items = parse_answer(answer, 640, 480);
/// let [AnswerItem::Object(cat), AnswerItem::Text(rest)] = &items[..] else {
///     panic!("an object and what is left");
/// };
/// assert_eq!((cat.label.as_str(), cat.bbox), ("tabby cat", [80.0, 120.0, 320.0, 360.0]));
/// assert_eq!(rest, "<loc0000><loc00");
/// ```
pub fn parse_answer(text: &str, width: u32, height: u32) -> Vec<AnswerItem> {
    let mut items = Vec::new();
    let mut rest = text;
    let mut searched = 0;
    while let Some(found) = rest[searched..].find("<loc") {
        let start = searched + found;
        let (before, candidate) = rest.split_at(start);
        if let Some((object, after)) = object(candidate, width, height) {
            push_text(&mut items, before);
            items.push(AnswerItem::Object(object));
            rest = after;
            searched = 0;
        } else {
            searched = start + "<loc".len();
        }
    }
    push_text(&mut items, rest);
    items
}

/// The objects of an answer; see [`parse_answer`].
pub fn detections(text: &str, width: u32, height: u32) -> Vec<Detection> {
    let items = parse_answer(text, width, height).into_iter();
    items
        .filter_map(|item| match item {
            AnswerItem::Object(detection) => Some(detection),
            AnswerItem::Text(_) => None,
        })
        .collect()
}

fn push_text(items: &mut Vec<AnswerItem>, text: &str) {
    if !text.is_empty() {
        items.push(AnswerItem::Text(text.to_owned()));
    }
}

/// The object that `text` begins with, and what comes after it.
fn object(text: &str, width: u32, height: u32) -> Option<(Detection, &str)> {
    let ([y0, x0, y1, x1], rest) = tokens(text, "<loc", 4, LOC_TOKENS)?;
    let (codes, rest) = match tokens(rest.trim_start(), "<seg", 3, SEG_TOKENS) {
        Some((codes, rest)) => (Some(codes), rest),
        None => (None, rest),
    };
    let rest = rest.trim_start();
    let (label, rest) = rest.split_at(rest.find([';', '<', '>']).unwrap_or(rest.len()));
    let rest = rest.strip_prefix(';').map_or(rest, str::trim_start);
    let pixels = |v: u16, side: u32| (f64::from(v) * f64::from(side) / LOC_TOKENS as f64) as f32;
    let detection = Detection {
        label: label.trim_end().to_owned(),
        bbox: [
            pixels(x0.min(x1), width),
            pixels(y0.min(y1), height),
            pixels(x0.max(x1), width),
            pixels(y0.max(y1), height),
        ],
        mask_codes: codes.filter(|_| x0 < x1 && y0 < y1),
        locations: [y0, x0, y1, x1],
        mask: None,
    };
    Some((detection, rest))
}

/// The values of `N` tokens such as `<loc0123>` that `text` begins with, and what comes after them.
fn tokens<'a, const N: usize>(
    mut text: &'a str,
    prefix: &str,
    digits: usize,
    limit: usize,
) -> Option<([u16; N], &'a str)> {
    let mut values = [0; N];
    for value in &mut values {
        let (number, rest) = text.strip_prefix(prefix)?.split_at_checked(digits)?;
        text = rest.strip_prefix('>')?;
        // `parse` alone would let a sign pass.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *value = number.parse().ok().filter(|&v| usize::from(v) < limit)?;
    }
    Some((values, text))
}
