//! What ran, what passed, how long it took.

use std::fmt;
use std::time::Duration;

/// Tests counted from libtest's and wasm-bindgen-test's closing lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

impl Tally {
    /// Adds what the line says, when it is a `test result:` line.
    pub(crate) fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else {
            return;
        };
        let words: Vec<&str> = counts
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        for pair in words.windows(2) {
            let [count, what] = pair else { continue };
            let Ok(count) = count.parse::<usize>() else {
                continue;
            };
            match *what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tests = if self.passed == 1 { "test" } else { "tests" };
        write!(f, "{} {tests} passed", self.passed)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if self.ignored > 0 {
            write!(f, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

/// One line of the closing table.
pub(crate) struct Line {
    pub(crate) step: &'static str,
    pub(crate) checks: &'static str,
    /// For steps that run tests.
    pub(crate) tests: Option<Tally>,
    pub(crate) took: Duration,
}

/// The table of everything that passed, and its sum.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut sum = Tally::default();
    for line in lines {
        let tests = line.tests.unwrap_or_default();
        sum += tests;
        let tests = line
            .tests
            .map_or_else(|| "ok".to_owned(), |tests| tests.to_string());
        text += &format!(
            "  {:<8}{:<58}{tests:<22}{:>10}\n",
            line.step,
            line.checks,
            duration(line.took)
        );
    }
    let took = duration(lines.iter().map(|line| line.took).sum());
    let steps: Vec<_> = lines.iter().map(|line| line.step).collect();
    let steps = steps.join(", ");
    let counted = lines.iter().any(|line| line.tests.is_some());
    let tests = if counted {
        format!(" with {sum}")
    } else {
        String::new()
    };
    text + &format!("\nDone: {steps}{tests}, in {took}.")
}

/// A duration for people: `4.2 s`, `3 min 07 s`.
pub(crate) fn duration(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_nothing_else() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test passed ... ok",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "    test result: FAILED. 4 passed; 3 failed; 0 ignored; 5 filtered out",
        ] {
            tally.read(line);
        }
        let expected = Tally {
            passed: 6,
            failed: 3,
            ignored: 1,
        };
        assert_eq!(tally, expected);
        assert_eq!(tally.to_string(), "6 tests passed, 3 failed, 1 ignored");
    }

    #[test]
    fn the_table_ends_with_the_sum() {
        let line = |step, passed, seconds| Line {
            step,
            checks: "",
            tests: Some(Tally {
                passed,
                ..Tally::default()
            }),
            took: Duration::from_secs(seconds),
        };
        let text = table(&[line("native", 7, 50), line("wasm", 2, 17)]);
        assert!(
            text.ends_with("Done: native, wasm with 9 tests passed, in 1 min 07 s."),
            "{text}"
        );
    }
}
