use std::ops::Range;

use crate::queue::Queue;

/// Bytes outside the GPU that can be written to it: of this program, or of the browser, from
/// which they go to the GPU without entering this program's memory.
pub trait HostBytes {
    /// How many.
    fn byte_len(&self) -> usize;

    /// Writes those in `range`; a range outside them writes nothing, which callers rule out.
    #[doc(hidden)]
    fn upload(&self, range: Range<usize>, to: Destination<'_>);
}

/// Where bytes go on the GPU.
#[doc(hidden)]
pub struct Destination<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) buffer: &'a wgpu::Buffer,
    /// Bytes from the buffer's beginning, a multiple of 4.
    pub(crate) at: u64,
}

impl HostBytes for [u8] {
    fn byte_len(&self) -> usize {
        self.len()
    }

    fn upload(&self, range: Range<usize>, to: Destination<'_>) {
        if let Some(bytes) = self.get(range) {
            to.queue.write(to.buffer, to.at, bytes);
        }
    }
}

impl HostBytes for Vec<u8> {
    fn byte_len(&self) -> usize {
        self.len()
    }

    fn upload(&self, range: Range<usize>, to: Destination<'_>) {
        self.as_slice().upload(range, to);
    }
}

/// The browser's bytes. Outside a browser there are none, and this is never called.
impl HostBytes for js_sys::Uint8Array {
    fn byte_len(&self) -> usize {
        self.length() as usize
    }

    fn upload(&self, range: Range<usize>, to: Destination<'_>) {
        let bytes = self.subarray(range.start as u32, range.end as u32);
        if to.queue.sketching.get() {
            return;
        }
        #[cfg(target_arch = "wasm32")]
        if let (Some(queue), Some(buffer)) = (to.queue.raw().as_webgpu(), to.buffer.as_webgpu()) {
            // A refusal is a validation error, which the device reports as it does any other.
            let _ = queue.write_buffer_with_f64_and_u8_array(buffer, to.at as f64, &bytes);
            return;
        }
        to.queue.write(to.buffer, to.at, &bytes.to_vec());
    }
}
