use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

#[cfg(target_arch = "wasm32")]
use crate::adapter::name_in_browser;
use crate::adapter::{
    AdapterInfo, COOPERATIVE, MOST_WORKGROUP_BYTES, choose, cooperative_side, describe,
    feature_names,
};
use crate::buffer::Buffer;
use crate::choice::{Choice, TuningOptions};
use crate::error::GpuError;
use crate::pipelines::{Compiler, Pipelines};
use crate::profile::Profile;
use crate::program::SLICE;
use crate::queue::Queue;
#[cfg(target_arch = "wasm32")]
use crate::subgroups;
use crate::submit::Submission;
use crate::variants::Variants;

/// How to open a GPU.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Ask only for WebGPU's default limits and for no optional feature even when the adapter has
    /// more. Tests use this to prove that the baseline suffices.
    pub baseline_limits: bool,
    /// Upper bound for the bytes of one storage binding, below the adapter's own. Tests use this
    /// to force weights into shards.
    pub max_binding_bytes: Option<u64>,
    /// Open the adapter that has this in its name or its back end's, in whatever case, instead of
    /// the most powerful one. A browser offers one adapter only.
    pub adapter: Option<String>,
    /// Ask for timestamps of single kernels where the adapter has them: see
    /// [`Gpu::start_profile`].
    pub timestamps: bool,
    /// Leave out the checks of indices into workgroup memory that wgpu adds to kernels, to measure
    /// what they cost. Outside a browser only; a browser always checks.
    pub unchecked: bool,
    /// Use the kernels that GPUs get even where the CPU computes. Tests use this to hold them to the same
    /// numbers.
    pub gpu_kernels: bool,
    /// Whether programs that are for it are replayed; none: as [`Gpu::replays`] says by default.
    pub replays: Option<bool>,
    /// What is known of adapters, and when to measure: for [`Gpu::open_tuned`].
    pub tuning: TuningOptions,
}

/// An opened GPU. Cheap to clone; all clones are the same device.
#[derive(Clone)]
pub struct Gpu(pub(crate) Rc<Shared>);

pub(crate) struct Shared {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: Queue,
    info: AdapterInfo,
    pub(crate) compiler: Compiler,
    pub(crate) pipelines: Pipelines,
    /// Of what is submitted past wgpu; none if there cannot be one.
    #[cfg(vulkan)]
    pub(crate) fence: std::cell::OnceCell<Option<Rc<crate::vulkan::Fence>>>,
    /// What is submitted again and again is encoded beneath wgpu's tracking.
    pub(crate) replays: Cell<bool>,
    /// Programs that were replayed, each time counted.
    pub(crate) replayed: Cell<u64>,
    /// Buffers and bind groups that were made.
    pub(crate) allocations: Cell<u64>,
    /// Multiply-adds after which work is handed to the driver.
    pub(crate) slice: Cell<u64>,
    /// [`Gpu::compute`] has been through once.
    pub(crate) computed: Cell<bool>,
    pub(crate) variants: Cell<Variants>,
    /// Kernels that are for adapters that compute on the CPU are used.
    pub(crate) serial: Cell<bool>,
    /// Invocations that every subgroup has at least; 0: there are no subgroups.
    pub(crate) subgroup_size: u32,
    /// Rows and columns of cooperative matrices; 0: there are none.
    pub(crate) cooperative_side: u32,
    /// Where they came from.
    pub(crate) choice: RefCell<Choice>,
    /// How it was opened, to open another one like it.
    pub(crate) options: GpuOptions,
    /// Pipelines that the browser compiled ahead, held so that it keeps them.
    #[cfg(target_arch = "wasm32")]
    pub(crate) prepared: RefCell<Vec<wasm_bindgen::JsValue>>,
    trouble: Arc<Mutex<Option<GpuError>>>,
    pub(crate) profile: RefCell<Option<Profile>>,
}

impl Gpu {
    /// Both are the same device.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Opens the most powerful adapter, or the one that was asked for.
    ///
    /// # Errors
    /// No adapter, an adapter below WebGPU's default limits, or one that refuses to open.
    pub async fn open(options: &GpuOptions) -> Result<Self, GpuError> {
        let optional = Self::open_with(options, !options.baseline_limits).await;
        match optional {
            // Some list a feature, and refuse a device that has it.
            Err(GpuError::DeviceRefused { .. }) if !options.baseline_limits => {
                Self::open_with(options, false).await
            }
            other => other,
        }
    }

    /// The same with or without what is optional.
    async fn open_with(options: &GpuOptions, optional: bool) -> Result<Self, GpuError> {
        let adapter = choose(options.adapter.as_deref()).await?;

        let found = adapter.limits();
        let mut limits = wgpu::Limits::default();
        let mut too_small = None;
        limits.check_limits_with_fail_fn(&found, false, |limit, needed, available| {
            too_small.get_or_insert(GpuError::LimitTooSmall {
                what: "this software".to_owned(),
                needed,
                limit: limit.to_owned(),
                available,
            });
        });
        if let Some(error) = too_small {
            return Err(error);
        }
        if !options.baseline_limits {
            limits.max_buffer_size = found.max_buffer_size;
            limits.max_storage_buffer_binding_size = found.max_storage_buffer_binding_size;
        }

        let mut features = wgpu::Features::empty();
        if options.timestamps {
            features |= adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        }
        if optional {
            let wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16;
            features |= adapter.features() & wanted;
        }
        let cooperative_side = match optional {
            true => cooperative_side(&adapter),
            false => 0,
        };
        if cooperative_side > 0 {
            features |= COOPERATIVE;
            limits.max_compute_workgroup_storage_size = MOST_WORKGROUP_BYTES;
        }
        // SAFETY: none of what is unsound about it is done here: cooperative matrices are read and
        // written within arrays of workgroup memory, by whole subgroups.
        #[expect(unsafe_code, reason = "cooperative matrices are behind it")]
        let experimental_features = match cooperative_side > 0 {
            true => unsafe { wgpu::ExperimentalFeatures::enabled() },
            false => wgpu::ExperimentalFeatures::disabled(),
        };

        let mut info = describe(&adapter);
        // What wgpu cannot ask a browser for is added to its request while it makes it.
        #[cfg(target_arch = "wasm32")]
        let addition = optional.then(subgroups::Addition::new);
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("paligemma"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            ..Default::default()
        });
        #[cfg(target_arch = "wasm32")]
        drop(addition);
        let (device, queue) = request.await.map_err(|error| GpuError::DeviceRefused {
            adapter: info.name.clone(),
            detail: error.to_string(),
        })?;
        #[cfg(target_arch = "wasm32")]
        name_in_browser(&device, &mut info);
        info.features = feature_names(features);
        #[cfg(target_arch = "wasm32")]
        let subgroup_size = subgroups::size(&device);
        #[cfg(not(target_arch = "wasm32"))]
        let subgroup_size = match features.contains(wgpu::Features::SUBGROUP) {
            true => adapter.get_info().subgroup_min_size,
            false => 0,
        };
        if subgroup_size > 0 {
            info.features.push("subgroups".to_owned());
        }
        info.max_buffer_bytes = limits.max_buffer_size;
        // Bindings and row offsets are multiples of 256 bytes; a limit that is not (2 GiB - 1,
        // say) is rounded down.
        let binding = limits.max_storage_buffer_binding_size;
        info.max_binding_bytes = binding
            .min(limits.max_buffer_size)
            .min(options.max_binding_bytes.unwrap_or(u64::MAX))
            & !255;

        let trouble = Arc::new(Mutex::new(None));
        let noted = trouble.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            note(
                &noted,
                match error {
                    wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory,
                    other => GpuError::Refused {
                        detail: other.to_string(),
                    },
                },
            );
        }));
        let noted = trouble.clone();
        device.set_device_lost_callback(move |reason, message| {
            if !matches!(reason, wgpu::DeviceLostReason::Destroyed) {
                note(&noted, GpuError::DeviceLost { reason: message });
            }
        });

        let serial = info.is_software && !options.gpu_kernels;
        let gpu = Self(Rc::new(Shared {
            compiler: Compiler::new(&device, options.unchecked),
            device,
            queue: Queue::new(queue),
            variants: Cell::new(Variants::usual(serial)),
            serial: Cell::new(serial),
            subgroup_size,
            cooperative_side,
            choice: RefCell::new(Choice::usual(serial)),
            options: options.clone(),
            info,
            pipelines: Pipelines::default(),
            #[cfg(vulkan)]
            fence: std::cell::OnceCell::new(),
            replays: Cell::new(false),
            replayed: Cell::new(0),
            allocations: Cell::new(0),
            slice: Cell::new(SLICE),
            computed: Cell::new(false),
            #[cfg(target_arch = "wasm32")]
            prepared: RefCell::default(),
            trouble,
            profile: RefCell::default(),
        }));
        gpu.set_replays(options.replays.unwrap_or(!gpu.info().is_software));
        Ok(gpu)
    }

    /// What computes.
    #[must_use]
    pub fn info(&self) -> &AdapterInfo {
        &self.0.info
    }

    /// Which variants of the kernels are used on this adapter, in words.
    #[must_use]
    pub fn kernels(&self) -> String {
        let Choice { variants, origin } = self.choice();
        let baseline = variants.are_exact() && !variants.subgroups;
        let tier = match baseline {
            true => "; baseline: f32, no optional feature",
            false => "",
        };
        format!("{variants} ({origin}){tier}")
    }

    /// The first thing that went wrong behind our back, if any: WebGPU reports most errors
    /// asynchronously, so this is asked after work is done.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<(), GpuError> {
        let trouble = self.0.trouble.lock().unwrap_or_else(|e| e.into_inner());
        trouble.clone().map_or(Ok(()), Err)
    }

    /// Something went wrong that wgpu does not know of.
    #[cfg(vulkan)]
    pub(crate) fn note(&self, error: GpuError) {
        note(&self.0.trouble, error);
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// Whatever [`Gpu::check`] finds then.
    pub async fn finish(&self) -> Result<(), GpuError> {
        self.flush().await
    }

    /// Submits what was written. What this returns waits for that and what was submitted before, not for
    /// what comes after; in a browser it does so whether or not it is polled.
    pub fn flush(&self) -> impl Future<Output = Result<(), GpuError>> + '_ {
        let (sender, receiver) = futures_channel::oneshot::channel();
        let submission = Submission(Some(self.0.queue.submit([])));
        self.0.queue.raw().on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        async move {
            self.poll_until(&submission)?;
            let _ = receiver.await;
            self.check()
        }
    }

    /// Lets callbacks run, until those of what was submitted up to there have. In a browser the event loop
    /// does that and this is nothing.
    pub(crate) fn poll_until(&self, submission: &Submission) -> Result<(), GpuError> {
        let wait = wgpu::PollType::Wait {
            submission_index: submission.0.clone(),
            timeout: None,
        };
        match self.0.device.poll(wait) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.check()?;
                Err(GpuError::DeviceLost {
                    reason: error.to_string(),
                })
            }
        }
    }

    /// Buffers and bind groups made so far, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.0.allocations.get()
    }

    pub(crate) fn count_allocation(&self) {
        self.0.allocations.set(self.0.allocations.get() + 1);
    }

    /// Allocates a buffer, zeroed.
    pub(crate) fn buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<Buffer, GpuError> {
        let bytes = bytes.max(16).next_multiple_of(16);
        let available = self.0.info.max_buffer_bytes;
        if bytes > available {
            return Err(GpuError::LimitTooSmall {
                what: label.to_owned(),
                needed: bytes,
                limit: "maxBufferSize".to_owned(),
                available,
            });
        }
        self.count_allocation();
        let buffer = self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: if self.0.queue.sketching.get() {
                16
            } else {
                bytes
            },
            usage,
            mapped_at_creation: false,
        });
        Ok(Buffer::new(buffer))
    }
}

/// Only the first error is kept: the ones after it are its consequences. A lost device outranks
/// what it caused.
fn note(slot: &Mutex<Option<GpuError>>, error: GpuError) {
    let mut slot = slot.lock().unwrap_or_else(|e| e.into_inner());
    if slot.is_none() || matches!(error, GpuError::DeviceLost { .. }) {
        *slot = Some(error);
    }
}
