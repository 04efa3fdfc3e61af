//! A colour for each label: told apart by colour-blind people too, readable on light and dark.

/// Colours of Okabe and Ito (2008) without black, and wine from Tol's muted scheme. The page's
/// styles hold the values as `--label-0` to `--label-7`.
pub(crate) const COLOURS: usize = 8;

/// Which colour each label has, in the order of the labels; none for an empty label.
///
/// A label prefers the same colour in every answer. Where two labels of one answer prefer the
/// same, the later one moves on to the next free colour, so that what is already on the screen
/// keeps its colour while more arrives.
pub(crate) fn colours<'a>(labels: impl IntoIterator<Item = &'a str>) -> Vec<Option<usize>> {
    let mut given: Vec<(&str, usize)> = Vec::new();
    labels
        .into_iter()
        .map(|label| {
            if label.is_empty() {
                return None;
            }
            if let Some(&(_, colour)) = given.iter().find(|(known, _)| *known == label) {
                return Some(colour);
            }
            let preferred = preferred(label);
            let free = (0..COLOURS)
                .map(|step| (preferred + step) % COLOURS)
                .find(|colour| given.iter().all(|(_, taken)| taken != colour));
            let colour = free.unwrap_or(preferred);
            given.push((label, colour));
            Some(colour)
        })
        .collect()
}

/// The style class of a colour; that of a label that is not known yet for none.
pub(crate) fn class(colour: Option<usize>) -> String {
    colour.map_or_else(
        || "unlabelled".to_owned(),
        |colour| format!("label-{colour}"),
    )
}

/// FNV-1a of the label.
fn preferred(label: &str) -> usize {
    let hash = label.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    ((hash ^ (hash >> 16)) % COLOURS as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use paligemma_scenes::KINDS;

    #[test]
    fn one_label_has_one_colour_and_up_to_eight_differ() {
        let labels = [
            "cat", "dog", "cat", "", "bus", "car", "pig", "cup", "fish", "ball",
        ];
        let given = colours(labels);
        assert_eq!(given[0], given[2]);
        assert_eq!(given[3], None);
        let mut distinct: Vec<_> = given.iter().flatten().collect();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 8);
    }

    #[test]
    fn what_arrives_later_changes_nothing() {
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let whole = colours(all.iter().copied());
        for n in 0..all.len() {
            assert_eq!(colours(all[..n].iter().copied()), whole[..n]);
        }
    }

    #[test]
    fn the_kinds_use_every_colour() {
        let mut used = [0; COLOURS];
        for kind in KINDS {
            used[preferred(kind.name)] += 1;
        }
        assert!(used.iter().all(|&n| (1..=8).contains(&n)), "{used:?}");
    }
}
