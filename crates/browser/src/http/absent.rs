//! Servers that answer 403 for what is not there: those of object stores do, where they let nobody
//! list their files.

use std::collections::BTreeSet;

/// Every checkpoint and every packed model has it: where it can be read, the server lets one in.
pub(super) const ALWAYS_THERE: &str = "config.json";

/// A checkpoint's weights in one file.
const SINGLE: &str = "model.safetensors";

/// Which files hold the weights, where there are several.
const INDEX: &str = "model.safetensors.index.json";

/// The files that a server did not give, and that were taken not to be there.
#[derive(Debug, Default)]
pub(super) struct Absent(BTreeSet<String>);

impl Absent {
    /// Takes note of such a file. `false`: a model needs this one, so that whoever wants it has to
    /// be told what the server says.
    pub(super) fn note(&mut self, path: &str) -> bool {
        let needed = match path {
            ALWAYS_THERE => true,
            // One of the two.
            INDEX => self.0.contains(SINGLE),
            SINGLE => false,
            path => path.ends_with(".safetensors") || path.ends_with(".bin"),
        };
        if !needed {
            self.0.insert(path.to_owned());
        }
        !needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_model_can_do_without_is_absent() {
        let mut absent = Absent::default();
        for (path, expected) in [
            ("manifest.json", true),
            ("config.json", false),
            (INDEX, true),
            (SINGLE, true),
            // Then there are no weights at all.
            (INDEX, false),
            ("model-00002-of-00003.safetensors", false),
            ("pieces/00001.bin", false),
            ("preprocessor_config.json", true),
        ] {
            assert_eq!(absent.note(path), expected, "{path}");
        }
    }
}
