/// y\[positions\[i\]\] = x\[i\], rows of `columns` numbers.
pub(crate) fn scatter_rows(x: &[f32], positions: &[u32], columns: usize, y: &mut [f32]) {
    for (row, position) in x.chunks(columns).zip(positions) {
        y[*position as usize * columns..][..columns].copy_from_slice(row);
    }
}
