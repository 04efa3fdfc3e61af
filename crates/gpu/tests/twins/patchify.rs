/// Cuts pixels `[channels, side, side]` into patches, row by row from the top left, each
/// `[channel, y, x]`; what does not fill a patch at the right and at the bottom is left out.
pub(crate) fn patchify(pixels: &[f32], channels: usize, side: usize, patch: usize) -> Vec<f32> {
    let across = side / patch;
    let mut out = Vec::new();
    for top in (0..across).map(|row| row * patch) {
        for left in (0..across).map(|column| column * patch) {
            for channel in pixels.chunks(side * side).take(channels) {
                for line in channel.chunks(side).skip(top).take(patch) {
                    out.extend_from_slice(&line[left..left + patch]);
                }
            }
        }
    }
    out
}
