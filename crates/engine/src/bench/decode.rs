use paligemma_model::Session;
use web_time::Instant;

use super::{Decode, LimitFigures, Run, Spread};
use crate::engine::milliseconds;
use crate::error::EngineError;
use crate::pace::Pace;

/// Tokens by which the time of encoding and submitting is measured.
const HOST_TOKENS: usize = 8;

impl Run<'_> {
    /// Steps after `position`, as answers are generated.
    pub(super) async fn decode(
        &self,
        position: usize,
        limits: &LimitFigures,
    ) -> Result<Decode, EngineError> {
        let tokens = self.options.tokens;
        let mut session = Session::new(self.model, position + tokens, usize::MAX)?;
        session.assume(self.model, position)?;
        let (mut all, mut host) = (Vec::new(), Vec::new());
        let mut pace = Pace::new();
        for _ in 0..=self.options.runs {
            self.go_on()?;
            session.stand(self.model, position)?;
            self.gpu.finish().await?;
            let started = Instant::now();
            self.steps(&mut session, &mut pace, tokens).await?;
            all.push(milliseconds(started) / tokens as f64);
            // By itself: with steps under way a driver may let the next one wait.
            session.stand(self.model, position)?;
            let at_once = pace.at_once(&session).min(tokens);
            let submissions = (tokens.min(HOST_TOKENS) / at_once).max(1);
            let mut encoding = 0.0;
            for _ in 0..submissions {
                let submitting = Instant::now();
                session.submit_some(self.model, at_once)?;
                encoding += milliseconds(submitting);
                while session.under_way() > 0 {
                    session.take(self.model).await?;
                }
            }
            host.push(encoding / (submissions * at_once) as f64);
        }
        let ms = Spread::of(&all[1..]);
        let rates: Vec<f64> = all[1..].iter().map(|ms| 1000.0 / ms.max(1e-6)).collect();
        // The mean over a run's steps, which read one position more each.
        let bytes = session.bytes_per_token(self.model, position + tokens / 2);
        let gb_per_second = bytes as f64 / (ms.median.max(1e-6) * 1e6);
        Ok(Decode {
            position,
            tokens,
            tokens_per_second: Spread::of(&rates),
            ms_per_token: ms,
            host_ms_per_token: Spread::of(&host[1..]),
            dispatches_per_token: session.dispatches_per_token(),
            replayed: session.is_replayed(),
            steps_per_submission: pace.at_once(&session).min(tokens),
            bytes_per_token: bytes,
            gb_per_second,
            share_of_copy: gb_per_second / limits.copy_gb_per_second,
        })
    }

    /// So many tokens, submitted as an answer's are.
    pub(super) async fn steps(
        &self,
        session: &mut Session,
        pace: &mut Pace,
        tokens: usize,
    ) -> Result<(), EngineError> {
        for left in (1..=tokens).rev() {
            self.go_on()?;
            pace.submit(session, self.model, left, |_, _| Ok::<_, EngineError>(()))?;
            let awaited = session.awaited();
            session.take(self.model).await?;
            pace.came_back(awaited);
        }
        Ok(())
    }
}
