//! The one thing about JPEG files that the decoder does not say.

const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// Whether a JPEG file has its end: an "end of image" marker after all of its scans.
///
/// Decoders paint what a cut file lacks in grey and report success, and a model would then describe
/// the grey. An end marker inside an embedded thumbnail does not count: segments are walked by their
/// lengths (ITU-T T.81, annex B).
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    let mut at = 0;
    let mut in_scan = false;
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|&b| b == 0xFF))
    {
        at += found + 1;
        let Some(&marker) = bytes.get(at) else {
            return false;
        };
        match marker {
            // A fill byte: the marker proper is still to come.
            0xFF => continue,
            END_OF_IMAGE => return in_scan,
            // A stuffed zero, a stand-alone marker: nothing follows that belongs to it.
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            _ => {
                in_scan |= marker == START_OF_SCAN;
                let Some(&[high, low]) = bytes.get(at + 1..).and_then(|b| b.first_chunk()) else {
                    return false;
                };
                at += 1 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn only_an_end_after_a_scan_counts() {
        let start = [0xFF, 0xD8];
        let thumbnail = [0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2];
        let scan = [0xFF, 0xDA, 0, 3, 1, 9, 9, 0xFF, 0x00, 9, 0xFF, 0xD0, 9];
        let end = [0xFF, 0xFF, 0xD9];
        let whole = [&start[..], &thumbnail, &scan, &end, b"trailing"].concat();
        assert!(is_complete(&whole));
        let size = whole.len() - b"trailing".len();
        for cut in 0..size {
            assert!(!is_complete(&whole[..cut]), "{cut} of {size}");
        }
        assert!(!is_complete(&[&start[..], &thumbnail, &end].concat()));
    }
}
