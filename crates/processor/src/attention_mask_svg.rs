//! An attention mask as a drawing.

use std::fmt::Write as _;

use crate::attention_mask::{AttentionMask, Cell, Layers};

/// The side of a matrix, about; cells are whole pixels.
const SIDE: usize = 560;
const LARGEST_CELL: usize = 24;
const SMALLEST_CELL: usize = 2;
/// Below it there is no room for a token's name beside its row.
const NAMED_CELL: usize = 10;
const FONT: usize = 12;
/// Width of a character of a monospaced font, in hundredths of its size.
const ADVANCE: usize = 62;
/// Longer names are cut.
const LONGEST_NAME: usize = 24;
const GAP: usize = 28;
const TOP: usize = 44;

impl AttentionMask {
    /// The mask as an SVG document: rows attend to columns. Cells have the classes `image`,
    /// `diagonal` and `visible`, text has `token`, so that a page can give them its own colours;
    /// without one they have colours of their own. Text is escaped.
    pub fn to_svg(&self, title: &str) -> String {
        let count = self.tokens().len().max(1);
        let cell = (SIDE / count).clamp(SMALLEST_CELL, LARGEST_CELL);
        let side = cell * count;
        let names = self.names(cell);
        let longest = names.iter().map(|(_, name)| name.chars().count()).max();
        let margin = longest.unwrap_or_default() * FONT * ADVANCE / 100 + 14;
        let matrices = self.layers();
        let width = margin + matrices.len() * side + (matrices.len() - 1) * GAP + 8;
        let height = TOP + side + 8;
        let title = escaped(title);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" \
             font-family=\"ui-monospace, monospace\" font-size=\"{FONT}\">\
             <title>{title}</title><desc>{}</desc>",
            escaped(&self.description())
        );
        for (middle, name) in &names {
            let y = TOP + middle + FONT * 36 / 100;
            let x = margin - 8;
            let name = escaped(name);
            let _ = write!(
                out,
                "<text class=\"token\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\" \
                 fill=\"#666\">{name}</text>"
            );
        }
        for (index, layers) in matrices.iter().enumerate() {
            let x = margin + index * (side + GAP);
            let heading = match layers {
                Layers::Full => "Attention".to_owned(),
                Layers::Sliding => {
                    format!("Window of {}", self.window().unwrap_or_default())
                }
            };
            let _ = write!(
                out,
                "<text class=\"token\" x=\"{x}\" y=\"16\" fill=\"#666\">{heading}</text>"
            );
            self.write_columns(&mut out, x, cell);
            self.write_matrix(&mut out, *layers, x, cell);
        }
        out.push_str("</svg>");
        out
    }

    /// What the drawing shows, in words.
    pub fn description(&self) -> String {
        let count = self.tokens().len();
        let prefix = self.prefix();
        let mut words = format!(
            "{count} tokens; each of the first {prefix}, the prefix, attends to all {prefix}; each of \
             the {} after it attends to everything before it and to itself.",
            count - prefix
        );
        if let Some(window) = self.window() {
            let _ = write!(
                words,
                " In layers with a sliding window the latter see {window} positions."
            );
        }
        words
    }

    /// What stands beside the rows: each token's name, or, where rows are too thin, what each run
    /// of rows is; with the middle of its rows.
    fn names(&self, cell: usize) -> Vec<(usize, String)> {
        let tokens = self.tokens();
        if cell >= NAMED_CELL {
            let named = tokens.iter().enumerate().map(|(row, token)| {
                let shown = Self::shown(token);
                let name = match shown.char_indices().nth(LONGEST_NAME) {
                    Some((end, _)) => format!("{row} {}…", &shown[..end]),
                    None => format!("{row} {shown}"),
                };
                (row * cell + cell / 2, name)
            });
            return named.collect();
        }
        let kind = |row: &usize| match self.cell(Layers::Full, *row, *row) {
            Cell::Image => "image",
            _ if *row < self.prefix() => "prompt",
            _ => "answer",
        };
        let rows: Vec<usize> = (0..tokens.len()).collect();
        let runs = rows.chunk_by(|a, b| kind(a) == kind(b));
        let named = runs.filter_map(|run| {
            let (first, last) = (run.first()?, run.last()?);
            let name = format!("{} × {}", kind(first), run.len());
            Some(((first + last + 1) * cell / 2, name))
        });
        // Names that would lie on each other leave the later one out.
        let mut apart: Vec<(usize, String)> = Vec::new();
        for (middle, name) in named {
            let free = apart.last().is_none_or(|(last, _)| middle >= last + FONT);
            if free {
                apart.push((middle, name));
            }
        }
        apart
    }

    /// The columns' numbers, where there is room.
    fn write_columns(&self, out: &mut String, x: usize, cell: usize) {
        if cell < 2 * NAMED_CELL {
            return;
        }
        for column in 0..self.tokens().len() {
            let x = x + column * cell + cell / 2;
            let y = TOP - 6;
            let _ = write!(
                out,
                "<text class=\"token\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" \
                 font-size=\"10\" fill=\"#666\">{column}</text>"
            );
        }
    }

    /// Runs of equal cells as one rectangle each; what is hidden is the ground.
    fn write_matrix(&self, out: &mut String, layers: Layers, x: usize, cell: usize) {
        let count = self.tokens().len();
        let side = cell * count;
        let gap = usize::from(cell >= 6);
        let _ = write!(
            out,
            "<rect class=\"hidden\" x=\"{x}\" y=\"{TOP}\" width=\"{side}\" height=\"{side}\" \
             fill=\"#8882\"/>"
        );
        for row in 0..count {
            let kind = |column: &usize| self.cell(layers, row, *column);
            let columns: Vec<usize> = (0..count).collect();
            // With gaps between them, cells are drawn one by one.
            let runs = columns.chunk_by(|a, b| gap == 0 && kind(a) == kind(b));
            for run in runs {
                let Some(first) = run.first() else {
                    continue;
                };
                let (class, fill) = match kind(first) {
                    Cell::Image => ("image", "#d9a520"),
                    Cell::Diagonal => ("diagonal", "#2e9d6a"),
                    Cell::Visible => ("visible", "#555"),
                    Cell::Hidden => continue,
                };
                let (left, top) = (x + first * cell, TOP + row * cell);
                let (wide, high) = (run.len() * cell - gap, cell - gap);
                let _ = write!(
                    out,
                    "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{wide}\" \
                     height=\"{high}\" fill=\"{fill}\"/>"
                );
            }
        }
    }
}

/// Text as XML may hold it: tokens come from a file and a prompt, and are markup nowhere.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No XML may have these, not even as references.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
