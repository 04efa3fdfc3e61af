//! An attention mask for a terminal.

use std::fmt::Write as _;

use crate::attention_mask::{AttentionMask, Cell, Layers};

const GREEN: &str = "\x1b[92m";
const YELLOW: &str = "\x1b[93m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";
const VISIBLE: char = '■';
const HIDDEN: char = '⬚';
/// Between the two matrices.
const BETWEEN: &str = "    |    ";

impl AttentionMask {
    /// The mask as lines of text, laid out as transformers' visualizer does it: a title, a legend,
    /// and for each token a row of ■ (attended to) and ⬚ (not). `title` says which model it is;
    /// `colour` marks image tokens and the diagonal with a terminal's colours.
    pub fn to_text(&self, title: &str, colour: bool) -> String {
        let paint = |code: &str, text: &str| match colour {
            true => format!("{code}{text}{RESET}"),
            false => text.to_owned(),
        };
        let tokens = self.tokens().iter();
        let words: Vec<String> = tokens.map(|t| format!("'{}'", Self::shown(t))).collect();
        let width = words.iter().map(|word| word.chars().count()).max();
        let width = width.unwrap_or_default();
        let count = words.len();
        let digits = count.saturating_sub(1).to_string().len().max(2);
        // Before the first cell: the word, a colon and a space, the number, a space.
        let margin = width + 2 + digits + 1;
        let matrix = (2 * count).saturating_sub(1);

        let title_width = "Attention visualization for ".len() + title.chars().count() + 8;
        let whole = (margin + matrix).max(title_width);
        let border = "#".repeat(whole);
        let mut out = format!(
            "{border}\n## Attention visualization for {} ##\n{border}\n",
            paint(BOLD, title)
        );
        let _ = match colour {
            true => writeln!(
                out,
                " {}: the token itself    {}: image tokens among themselves    ⬚: not attended to",
                paint(GREEN, "■"),
                paint(YELLOW, "■")
            ),
            false => writeln!(out, " ■: attended to    ⬚: not attended to"),
        };
        let mut headings = format!("{:margin$}{:<matrix$}", "", "Attention Matrix");
        if self.window().is_some() {
            headings.push_str(BETWEEN);
            headings.push_str("Sliding Window Mask");
        }
        let _ = writeln!(out, "{}", headings.trim_end());
        self.write_column_numbers(&mut out, margin, matrix);
        for (row, word) in words.iter().enumerate() {
            let pad = width - word.chars().count();
            let word = match self.cell(Layers::Full, row, row) {
                Cell::Image => paint(YELLOW, word),
                _ => word.clone(),
            };
            let _ = write!(out, "{word}{:pad$}: {row:>digits$} ", "");
            let rows = self.layers().iter().map(|layers| {
                let cells = (0..count).map(|column| match self.cell(*layers, row, column) {
                    Cell::Image => paint(YELLOW, "■"),
                    Cell::Diagonal => paint(GREEN, "■"),
                    Cell::Visible => VISIBLE.to_string(),
                    Cell::Hidden => HIDDEN.to_string(),
                });
                cells.collect::<Vec<_>>().join(" ")
            });
            let rows: Vec<String> = rows.collect();
            out.push_str(&rows.join(BETWEEN));
            if rows.len() == 1 {
                out.push_str(BETWEEN.trim_end());
            }
            out.push('\n');
        }
        out
    }

    /// The columns' numbers, one digit a line; blank lines where there is one matrix, whose rows
    /// have the same numbers.
    fn write_column_numbers(&self, out: &mut String, margin: usize, matrix: usize) {
        let count = self.tokens().len();
        let digits = count.saturating_sub(1).to_string().len().max(2);
        for line in 0..digits {
            if self.window().is_none() {
                out.push('\n');
                continue;
            }
            let digit = |column: usize| {
                let number = format!("{column:>digits$}");
                number.chars().nth(line).unwrap_or(' ').to_string()
            };
            let columns = (0..count).map(digit).collect::<Vec<_>>().join(" ");
            let both = format!("{:margin$}{columns:<matrix$}{BETWEEN}{columns}", "");
            out.push_str(both.trim_end());
            out.push('\n');
        }
    }
}
