//! Answers that nobody times, while somebody watches what else the machine does.

use paligemma_model::{Session, Taps};
use web_time::{Duration, Instant};

use super::{Run, inputs};
use crate::error::EngineError;
use crate::pace::Pace;

/// Answers go on at least so long: some hundred frames of a screen.
const AT_LEAST: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Answers about pictures, with all that was compiled before.
    pub(super) async fn answers(&self) -> Result<(), EngineError> {
        let config = self.model.config();
        let (pixels, ids) = inputs(config);
        let room = config
            .text
            .max_position_embeddings
            .saturating_sub(ids.len());
        let tokens = self.options.tokens.min(room);
        let mut session = Session::new(self.model, ids.len() + tokens, usize::MAX)?;
        let mut pace = Pace::new();
        let started = Instant::now();
        while started.elapsed() < AT_LEAST {
            let features = self.model.encode_image(&pixels, &mut Taps::none()).await?;
            self.go_on()?;
            session
                .prefill(self.model, &ids, &[features], &mut Taps::none())
                .await?;
            self.go_on()?;
            self.steps(&mut session, &mut pace, tokens).await?;
        }
        Ok(())
    }
}
