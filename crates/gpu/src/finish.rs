//! From what was recorded to what can be submitted.

use crate::error::GpuError;
use crate::program::{Bound, Program, Recorded, Recorder, Resource, Step, storage_of};
use crate::replay::Replay;
use crate::shader::{Binding, Shader};

impl Recorder {
    /// Creates the uniform arena and the bind groups.
    ///
    /// # Errors
    /// The first thing that did not fit while recording.
    pub fn finish(mut self) -> Result<Program, GpuError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.gpu.0.queue.sketching.get() {
            return Ok(Program::default());
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let arena = self
            .gpu
            .buffer("parameters", self.uniforms.len() as u64, usage)?;
        if !self.uniforms.is_empty() {
            let queue = &self.gpu.0.queue;
            queue.write(arena.raw(), 0, &self.uniforms);
        }
        let device = &self.gpu.0.device;
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in self.steps.drain(..) {
            steps.push(match step {
                Recorded::Copy(copy) => copy,
                Recorded::Dispatch {
                    shader,
                    constants,
                    resources,
                    uniform: (offset, size),
                    workgroups,
                    cost,
                } => {
                    let pipeline = self.gpu.pipeline(shader, &constants);
                    let bytes = touched(shader, &resources);
                    let mut storage = resources.into_iter();
                    let bound: Vec<Bound> = shader
                        .bindings
                        .iter()
                        .filter_map(|(binding, kind)| {
                            let (buffer, bytes) = match kind {
                                Binding::Uniform => {
                                    (arena.clone(), offset as u64..(offset + size) as u64)
                                }
                                _ => {
                                    let resource = storage.next()?;
                                    let bytes = resource.bytes();
                                    (resource.buffer, bytes)
                                }
                            };
                            Some(Bound {
                                binding: *binding,
                                kind: *kind,
                                buffer,
                                bytes,
                            })
                        })
                        .collect();
                    let entries: Vec<_> = bound.iter().map(entry).collect();
                    self.gpu.count_allocation();
                    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(shader.name),
                        layout: &pipeline.layout,
                        entries: &entries,
                    });
                    drop(entries);
                    Step::Dispatch {
                        shader,
                        constants,
                        bytes,
                        pipeline: pipeline.pipeline.clone(),
                        bind_group,
                        bound,
                        workgroups,
                        cost,
                    }
                }
            });
        }
        Ok(Program {
            replay: Replay::default(),
            steps,
        })
    }
}

/// Bytes that a dispatch binds. A look-up binds a whole matrix and reads as much as it writes.
fn touched(shader: &Shader, resources: &[Resource]) -> u64 {
    let bytes = |resource: &Resource| {
        let bytes = resource.bytes();
        bytes.end - bytes.start
    };
    if !shader.name.starts_with("embed") {
        // What is bound twice, as something has to be bound where nothing is read, counts once.
        let again = |(i, resource): &(usize, &Resource)| {
            let same = |other: &Resource| {
                other.buffer.is(&resource.buffer) && other.bytes().start == resource.bytes().start
            };
            resources[..*i].iter().any(same)
        };
        let all = resources.iter().enumerate();
        return all
            .filter(|each| !again(each))
            .map(|(_, each)| bytes(each))
            .sum();
    }
    let written = storage_of(shader)
        .zip(resources)
        .filter(|(kind, _)| *kind == Binding::ReadWrite);
    written.map(|(_, resource)| 2 * bytes(resource)).sum()
}

fn entry(bound: &Bound) -> wgpu::BindGroupEntry<'_> {
    let bytes = &bound.bytes;
    wgpu::BindGroupEntry {
        binding: bound.binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: bound.buffer.raw(),
            offset: bytes.start,
            size: std::num::NonZeroU64::new(bytes.end - bytes.start),
        }),
    }
}
