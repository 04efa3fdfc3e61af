//! `.npz`: a zip of `.npy` arrays, stored or deflated.

use rawzip::{CompressionMethod, ZipArchive, ZipVerification, crc32};
use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Array, OTHER_FILE, TENSORS, npy, wanted, wrong};
use crate::error::{CheckpointError, DOWNLOAD_AGAIN, shown};

/// Bytes that an array's header may take beside its numbers: NumPy's own have 128, and a header of
/// the format's first version at most 64 KiB.
const LARGEST_HEADER: u64 = 1 << 16;

/// More members than any such file has: 49 in the published one.
const MOST_MEMBERS: usize = 4096;

/// The wanted arrays of a file.
pub(super) fn arrays<'a>(
    file: &str,
    bytes: &'a [u8],
) -> Result<BTreeMap<&'static str, Array<'a>>, CheckpointError> {
    let broken = |reason: String| CheckpointError::File {
        file: file.to_owned(),
        reason,
        next: DOWNLOAD_AGAIN,
    };
    let damaged =
        |error: rawzip::Error| broken(format!("is a damaged zip ({})", shown(&error.to_string())));
    let archive = ZipArchive::from_slice(bytes).map_err(damaged)?;
    let mut arrays = BTreeMap::new();
    let mut members = archive.entries();
    let mut count = 0;
    while let Some(member) = members.next_entry().map_err(damaged)? {
        count += 1;
        if count > MOST_MEMBERS {
            return Err(broken(format!("has more than {MOST_MEMBERS} arrays")));
        }
        let path = member.file_path();
        let name = path.as_bytes().strip_suffix(b".npy");
        let Some(name) = TENSORS
            .iter()
            .map(|(known, _)| *known)
            .find(|known| name == Some(known.as_bytes()))
        else {
            continue;
        };
        let refused = |reason: &str, next| wrong(file, name, reason.to_owned(), next);
        if member.flags().is_encrypted() {
            return Err(refused("is encrypted", OTHER_FILE));
        }
        let numbers = wanted(name).unwrap_or_default().iter().product::<usize>();
        let most = numbers as u64 * 4 + LARGEST_HEADER;
        if member.uncompressed_size_hint() > most {
            let reason = format!(
                "takes {} bytes where {most} are enough",
                member.uncompressed_size_hint()
            );
            return Err(wrong(file, name, reason, OTHER_FILE));
        }
        let method = member.compression_method();
        let entry = archive.get_entry(member.wayfinder()).map_err(damaged)?;
        let content: Cow<'a, [u8]> = if method == CompressionMethod::STORE {
            let (start, end) = entry.compressed_data_range();
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let data = range.and_then(|(start, end)| bytes.get(start..end));
            data.ok_or_else(|| refused("lies outside the file", DOWNLOAD_AGAIN))?
                .into()
        } else if method == CompressionMethod::DEFLATE {
            // What a few bytes would unfold to is hostile's choice: no more than was announced.
            miniz_oxide::inflate::decompress_to_vec_with_limit(entry.data(), most as usize)
                .map_err(|_| refused("cannot be decompressed", DOWNLOAD_AGAIN))?
                .into()
        } else {
            return Err(refused(
                "is compressed by another method than deflate",
                "write the file again with numpy.savez",
            ));
        };
        let found = ZipVerification {
            crc: crc32(&content),
            uncompressed_size: content.len() as u64,
        };
        entry
            .claim_verifier()
            .valid(found)
            .map_err(|_| refused("is not what its checksum says", DOWNLOAD_AGAIN))?;
        let array = npy::array(content).map_err(|reason| wrong(file, name, reason, OTHER_FILE))?;
        if arrays.insert(name, array).is_some() {
            return Err(refused("is there twice", DOWNLOAD_AGAIN));
        }
    }
    Ok(arrays)
}
