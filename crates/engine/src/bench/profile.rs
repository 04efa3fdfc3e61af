//! Every stage once more, each kernel timed.

use paligemma_gpu::{Gpu, KernelTime, TimedBy};
use paligemma_model::{Session, Taps};

use super::report::StageProfile;
use super::{Run, inputs, roofline};
use crate::error::EngineError;

/// Steps of decoding that are timed kernel by kernel.
const PROFILED: usize = 4;

/// Ends a profile however what is timed ends: what is submitted later is not to be noted.
struct Profiling<'g>(&'g Gpu);

impl Drop for Profiling<'_> {
    fn drop(&mut self) {
        self.0.drop_profile();
    }
}

impl Run<'_> {
    pub(super) async fn profile(
        &self,
        positions: &[usize],
        next: &mut dyn FnMut(String),
    ) -> Result<Vec<StageProfile>, EngineError> {
        let (gpu, model, config) = (self.gpu, self.model, self.model.config());
        let _ended = Profiling(gpu);
        let (pixels, ids) = inputs(config);
        let mut stages = Vec::new();

        next("single kernels of vision".to_owned());
        let by = gpu.start_profile();
        let mut features = model.encode_image(&pixels, &mut Taps::none()).await?;
        let times = self.times().await?;
        if by == TimedBy::Repeating {
            // What kernels that were repeated left are no features.
            features = model.encode_image(&pixels, &mut Taps::none()).await?;
        }
        let attention = Some(roofline::vision_attention(config));
        let stage = "vision".to_owned();
        stages.push(StageProfile::new(stage, 1, &times, by, attention));

        next("single kernels of picture and prompt".to_owned());
        let mut session = Session::new(model, ids.len() + 1, usize::MAX)?;
        gpu.start_profile();
        session
            .prefill(model, &ids, &[features], &mut Taps::none())
            .await?;
        session.stand_before(model, ids.len())?;
        let times = self.times().await?;
        let attention = Some(roofline::prefill_attention(config, ids.len()));
        let stage = "prefill".to_owned();
        stages.push(StageProfile::new(stage, 1, &times, by, attention));
        drop(session);

        for &position in positions {
            let stage = format!("decode at {position}");
            next(format!("single kernels after {position}"));
            let steps = PROFILED.min(self.options.tokens);
            let mut session = Session::new(model, position + steps, usize::MAX)?;
            session.assume(model, position)?;
            gpu.finish().await?;
            gpu.start_profile();
            for _ in 0..steps {
                session.decode(model).await?;
            }
            session.stand(model, position)?;
            let times = self.times().await?;
            stages.push(StageProfile::new(stage, steps, &times, by, None));
        }
        Ok(stages)
    }

    /// Of what was submitted since the profile was begun.
    async fn times(&self) -> Result<Vec<KernelTime>, EngineError> {
        let go_on = || !self.cancel.is_cancelled();
        let times = self.gpu.take_profile(&go_on).await?;
        self.go_on()?;
        Ok(times)
    }
}
