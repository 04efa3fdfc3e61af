//! Kernels for adapters that compute on the CPU, and those for GPUs in their place.

use crate::cache::CachePrecision;
use crate::device::Gpu;
use crate::shader::{self, Shader};

impl Gpu {
    /// Whether norms, attention, the likeliest token and probabilities of what is recorded from now on are computed by kernels for
    /// adapters that compute on the CPU, where a barrier is a switch between threads: with few of them or
    /// none, and less shared between invocations.
    #[must_use]
    pub fn is_serial(&self) -> bool {
        self.0.serial.get()
    }

    /// Has those used or the ones for GPUs, instead of what suits the adapter.
    pub fn set_serial(&self, serial: bool) {
        self.0.serial.set(serial);
    }

    /// The one for a GPU or the other of two kernels that compute a norm of each row, and their
    /// workgroups: one for each row, or for each eight.
    pub(crate) fn norm(
        &self,
        both: [&'static Shader; 2],
        rows: usize,
    ) -> (&'static Shader, [u64; 3]) {
        match (self.is_serial(), both) {
            (false, [shader, _]) => (shader, [rows as u64, 1, 1]),
            (true, [_, shader]) => (shader, [rows.div_ceil(8) as u64, 1, 1]),
        }
    }

    /// The one for a GPU or the other of two kernels of as many workgroups.
    pub(crate) fn either(&self, [shader, serial]: [&'static Shader; 2]) -> &'static Shader {
        match self.is_serial() {
            true => serial,
            false => shader,
        }
    }

    /// The kernel for attention of many rows to such a cache, and the queries of its workgroups.
    pub(crate) fn attention(&self, cache: CachePrecision) -> (&'static Shader, usize) {
        let (shaders, queries) = match self.is_serial() {
            true => (
                [
                    &shader::ATTENTION,
                    &shader::ATTENTION_KV16,
                    &shader::ATTENTION_KV8,
                ],
                32,
            ),
            false => (
                [
                    &shader::ATTENTION_SIXTEENS,
                    &shader::ATTENTION_SIXTEENS_KV16,
                    &shader::ATTENTION_SIXTEENS_KV8,
                ],
                16,
            ),
        };
        (cache.pick(shaders), queries)
    }

    /// The kernel for attention of a single row to such a cache.
    pub(crate) fn decode_attention(&self, cache: CachePrecision) -> &'static Shader {
        cache.pick(match self.is_serial() {
            true => [
                &shader::DECODE_ATTENTION_SERIAL,
                &shader::DECODE_ATTENTION_SERIAL_KV16,
                &shader::DECODE_ATTENTION_SERIAL_KV8,
            ],
            false => [
                &shader::DECODE_ATTENTION,
                &shader::DECODE_ATTENTION_KV16,
                &shader::DECODE_ATTENTION_KV8,
            ],
        })
    }
}
