//! Where chosen files lie in the checkpoint's folder.

use std::collections::BTreeSet;

use paligemma_checkpoint::SourceError;

/// The paths without the folders that all files lie in: a folder picker names the chosen folder,
/// and a person may have chosen the one above it.
pub(super) fn within_folder(paths: &[String]) -> Result<Vec<String>, SourceError> {
    let Some(first) = paths.first() else {
        return Err(blocked("no file was chosen".to_owned()));
    };
    let mut common = match first.rsplit_once('/') {
        Some((folder, _)) => folder.len() + 1,
        None => 0,
    };
    let folder_of = |end: usize| first.get(..end).unwrap_or_default();
    for path in paths {
        while common > 0 && !path.starts_with(folder_of(common)) {
            let above = folder_of(common - 1).rfind('/');
            common = above.map_or(0, |slash| slash + 1);
        }
    }
    let within: Vec<String> = paths
        .iter()
        .map(|path| path.get(common..).unwrap_or_default().to_owned())
        .collect();
    let mut seen = BTreeSet::new();
    match within.iter().find(|path| !seen.insert(path.as_str())) {
        Some(twice) => Err(blocked(format!("{twice:?} is among them twice"))),
        None => Ok(within),
    }
}

fn blocked(reason: String) -> SourceError {
    SourceError::Blocked {
        path: "the chosen files".to_owned(),
        reason,
        remedy: "choose the folder of one model".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(paths: &[&str]) -> Result<Vec<String>, SourceError> {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        within_folder(&paths)
    }

    #[test]
    fn the_common_folder_is_left_out() {
        for (chosen, expected) in [
            (
                &["m/config.json", "m/a.safetensors"][..],
                &["config.json", "a.safetensors"][..],
            ),
            (
                &["config.json", "a.safetensors"],
                &["config.json", "a.safetensors"],
            ),
            (
                &["m/manifest.json", "m/p/0.bin"],
                &["manifest.json", "p/0.bin"],
            ),
            (
                &["m/p/0.bin", "m/manifest.json"],
                &["p/0.bin", "manifest.json"],
            ),
            (&["x/m/config.json", "x/m/b"], &["config.json", "b"]),
            // Names that begin alike are not in the same folder.
            (&["x/ma/c", "x/mb/c"], &["ma/c", "mb/c"]),
            (&["m/a", "n/a"], &["m/a", "n/a"]),
            (&["m/ä/a", "m/ö/a"], &["ä/a", "ö/a"]),
            (&["only"], &["only"]),
        ] {
            assert_eq!(within(chosen).unwrap(), expected, "{chosen:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_folder_is_refused() {
        for chosen in [&[][..], &["a", "a"], &["m/a", "m/b", "m/a"]] {
            let refused = within(chosen);
            assert!(
                matches!(refused, Err(SourceError::Blocked { .. })),
                "{chosen:?}"
            );
        }
    }
}
