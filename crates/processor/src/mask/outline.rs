//! A mask as polygons.

use std::collections::BTreeMap;

use super::BinaryMask;

/// A corner between pixels: x and y, from the picture's upper left corner.
type Corner = (u32, u32);

/// Steps along the edges between inside and outside, by where they begin. Inside is on the right
/// of the way; at most two begin at one corner, where two pixels touch at that corner only.
type Steps = BTreeMap<Corner, Vec<Corner>>;

impl BinaryMask {
    /// The outlines, each closed, along the edges of pixels, corners only: `[x, y]` from the
    /// picture's upper left corner. Around the object they run clockwise as one sees them, around
    /// holes the other way, so an even-odd or a non-zero fill of all gives the mask again, to the
    /// pixel. Pixels that touch at a corner only are apart.
    #[must_use]
    pub fn polygons(&self) -> Vec<Vec<[u32; 2]>> {
        let mut steps = self.steps();
        let mut polygons = Vec::new();
        while let Some(start) = steps.keys().next().copied() {
            let mut polygon: Vec<Corner> = Vec::new();
            let (mut at, mut from) = (start, None);
            while let Some(next) = take(&mut steps, from, at) {
                polygon.push(at);
                (from, at) = (Some(at), next);
                if at == start && !continues(&steps, from, at) {
                    break;
                }
            }
            polygons.push(corners(&polygon));
        }
        polygons
    }

    fn steps(&self) -> Steps {
        let mut steps = Steps::new();
        let mut add = |from: Corner, to: Corner| steps.entry(from).or_default().push(to);
        let mut column: Vec<(u32, u32)> = Vec::new();
        let mut x = 0;
        let mut spans = self.column_spans().peekable();
        // The column right of each edge is compared with the one left of it.
        loop {
            let left = std::mem::take(&mut column);
            while let Some((_, top, bottom)) = spans.next_if(|(at, ..)| *at == x) {
                column.push((top, bottom));
                add((x, top), (x + 1, top));
                add((x + 1, bottom), (x, bottom));
            }
            for (top, bottom, enters) in differences(&left, &column) {
                if enters {
                    add((x, bottom), (x, top));
                } else {
                    add((x, top), (x, bottom));
                }
            }
            if column.is_empty() {
                match spans.peek() {
                    Some((next, ..)) => x = *next,
                    None => return steps,
                }
            } else {
                x += 1;
            }
        }
    }
}

/// Where exactly one of two columns is inside: top, bottom, and whether it is the right one. Cut at
/// every end of a span, so that steps begin and end where others do.
fn differences(left: &[(u32, u32)], right: &[(u32, u32)]) -> Vec<(u32, u32, bool)> {
    let both = left.iter().chain(right);
    let mut cuts: Vec<u32> = both.flat_map(|&(top, bottom)| [top, bottom]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let (mut left, mut right) = (Cursor(left), Cursor(right));
    let mut out = Vec::new();
    for pair in cuts.windows(2) {
        let &[top, bottom] = pair else { continue };
        let (before, after) = (left.is_inside(top), right.is_inside(top));
        if before != after {
            out.push((top, bottom, after));
        }
    }
    out
}

/// Spans from the top, to be asked from the top.
struct Cursor<'a>(&'a [(u32, u32)]);

impl Cursor<'_> {
    fn is_inside(&mut self, y: u32) -> bool {
        while let [(_, bottom), rest @ ..] = self.0
            && *bottom <= y
        {
            self.0 = rest;
        }
        self.0.first().is_some_and(|(top, _)| *top <= y)
    }
}

/// Takes the step that begins at a corner; of two, the one to the right, which stays on the same
/// pixel.
fn take(steps: &mut Steps, from: Option<Corner>, at: Corner) -> Option<Corner> {
    let ways = steps.get_mut(&at)?;
    let choice = choose(ways, from, at)?;
    let next = ways.swap_remove(choice);
    if ways.is_empty() {
        steps.remove(&at);
    }
    Some(next)
}

fn choose(ways: &[Corner], from: Option<Corner>, at: Corner) -> Option<usize> {
    let Some(from) = from else {
        return (!ways.is_empty()).then_some(0);
    };
    (0..ways.len()).max_by_key(|&way| turn(from, at, ways[way]))
}

/// Back at its first corner, whether the outline goes on: there is a step to the right of the one
/// that it began with.
fn continues(steps: &Steps, from: Option<Corner>, at: Corner) -> bool {
    let (Some(ways), Some(from)) = (steps.get(&at), from) else {
        return false;
    };
    ways.iter().any(|&way| turn(from, at, way) > 0)
}

/// Above 0: to the right. With y downwards that is a positive cross product.
fn turn(from: Corner, at: Corner, to: Corner) -> i64 {
    let step = |a: Corner, b: Corner| {
        let difference = |a: u32, b: u32| i64::from(b) - i64::from(a);
        (difference(a.0, b.0).signum(), difference(a.1, b.1).signum())
    };
    let ((ax, ay), (bx, by)) = (step(from, at), step(at, to));
    ax * by - ay * bx
}

/// Without the points at which an outline goes straight on.
fn corners(polygon: &[Corner]) -> Vec<[u32; 2]> {
    let count = polygon.len();
    (0..count)
        .filter(|&i| {
            let (before, after) = (polygon[(i + count - 1) % count], polygon[(i + 1) % count]);
            turn(before, polygon[i], after) != 0
        })
        .map(|i| [polygon[i].0, polygon[i].1])
        .collect()
}
