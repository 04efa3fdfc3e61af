//! Every command line of `crates/engine/TRANSFORMERS.md` does what it says there: it runs.

use std::process::Command;

use crate::{root, scratch};

/// A line's words; in double quotes, one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[test]
fn a_line_is_split_as_a_shell_does_it() {
    let split = words(r#"run --prompt "detect cat ; dog" --suffix "" -n 5"#);
    let wanted = [
        "run",
        "--prompt",
        "detect cat ; dog",
        "--suffix",
        "",
        "-n",
        "5",
    ];
    assert_eq!(split, wanted);
}

#[test]
fn every_documented_command_runs() {
    let text = std::fs::read_to_string(root("crates/engine/TRANSFORMERS.md")).unwrap();
    let out = scratch("documented");
    let mut run = 0;
    for block in text.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines() {
            let mut words = words(line);
            assert_eq!(words.remove(0), "paligemma", "{line}");
            // What it writes is not left in the repository.
            let writes = |word: &String| ["--out", "--svg"].contains(&word.as_str());
            if let Some(at) = words.iter().position(writes) {
                words[at + 1] = out.join(&words[at + 1]).to_str().unwrap().to_owned();
            }
            let output = Command::new(env!("CARGO_BIN_EXE_paligemma"))
                .env("XDG_CACHE_HOME", out.join("cache"))
                .args(&words)
                .current_dir(root("."))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {said}");
            run += 1;
        }
    }
    assert!(run >= 14, "{run}");
}
