use std::ops::Range;

use paligemma_model::{Neighbours, PaliGemma, Picking, Scored, Session, Steering};
use paligemma_processor::{Detection, detections};

use crate::answer::{CancelToken, Event, Stopped};
use crate::engine::{Engine, Prompt, RunRequest};
use crate::error::EngineError;
use crate::evidence::{Evidence, distinct, evidence, places};
use crate::generation::Generation;
use crate::grammar::Grammar;
use crate::pace::Pace;
use crate::picture::Picture;
use crate::random::random_number;

/// What an answer's tokens are picked by, and how far it is.
pub(crate) struct Guide<'g> {
    generation: &'g Generation,
    prompt: Vec<u32>,
    near: Neighbours,
    grammar: Option<Grammar>,
    /// Ids that end an answer.
    pub(crate) ends: Vec<u32>,
    /// Words of a bit for each id of the vocabulary.
    words: usize,
    attempt: u32,
    seen: Vec<u32>,
    /// Tokens that the model has read after the prompt, of all attempts.
    pub(crate) read: usize,
}

/// The objects in a text, and what the probabilities say about them.
pub(crate) struct Found {
    pub(crate) detections: Vec<Detection>,
    pub(crate) evidence: Vec<Option<Evidence>>,
}

impl Found {
    /// From 0 to 1; 0 where there is no evidence.
    pub(crate) fn scores(&self) -> Vec<f32> {
        let score = |evidence: &Option<Evidence>| evidence.as_ref().map_or(0.0, Evidence::score);
        self.evidence.iter().map(score).collect()
    }

    /// Of objects of one label that overlap by more than `overlap` the one with the best score.
    fn without_duplicates(self, overlap: f32) -> Self {
        let kept = distinct(&self.detections, &self.scores(), overlap);
        let keep = |i: &usize| Some((self.detections.get(*i)?.clone(), *self.evidence.get(*i)?));
        let (detections, evidence) = kept.iter().filter_map(keep).unzip();
        Self {
            detections,
            evidence,
        }
    }
}

impl<'g> Guide<'g> {
    pub(crate) fn generation(&self) -> &'g Generation {
        self.generation
    }

    /// How the first session picks: a search by beams decides by itself.
    pub(crate) fn picking(&self) -> Picking {
        match self.generation.num_beams {
            1 => self.generation.picking(self.near),
            beams => Picking::Few {
                count: beams + 1,
                also: self.ends.clone(),
            },
        }
    }

    /// What picking a token needs depends on the token before.
    fn needs_the_last_token(&self) -> bool {
        self.grammar.is_some() || self.generation.repetition_penalty != 1.0
    }

    /// Begins the answer anew, with other random numbers.
    fn restart(&mut self, attempt: u32) {
        self.attempt = attempt;
        self.seen = vec![0; self.words];
        for id in self.prompt.clone() {
            self.see(id);
        }
        if let Some(grammar) = &mut self.grammar {
            grammar.restart();
        }
    }

    fn see(&mut self, id: u32) {
        if let Some(word) = self.seen.get_mut(id as usize / 32) {
            *word |= 1 << (id % 32);
        }
    }

    /// Takes note of the answer's next token.
    fn push(&mut self, id: u32) {
        self.see(id);
        if let Some(grammar) = &mut self.grammar {
            grammar.push(id);
        }
    }

    /// Uploads what picking the answer's tokens of these numbers needs.
    pub(crate) fn steer(
        &self,
        model: &PaliGemma,
        session: &Session,
        steps: Range<usize>,
    ) -> Result<(), EngineError> {
        let seed = self.generation.sampling.map_or(0, |sampling| sampling.seed);
        let number = |step| random_number(seed, self.attempt, step as u32);
        let numbers: Vec<f32> = steps.map(number).collect();
        let grammar = self.grammar.as_ref();
        let permitted = grammar.map(|grammar| grammar.permitted(self.words));
        session.steer(
            model,
            Steering {
                numbers: &numbers,
                seen: &self.seen,
                permitted: permitted.as_deref().unwrap_or_default(),
            },
        )?;
        Ok(())
    }
}

impl Engine {
    /// What a request's tokens are picked by.
    pub(crate) fn guide<'g>(
        &self,
        request: &RunRequest<'_>,
        generation: &'g Generation,
        ids: &[u32],
    ) -> Result<Guide<'g>, EngineError> {
        let tokenizer = self.processor.tokenizer();
        generation.check(tokenizer.vocab_size())?;
        let ends = self.config().eos_token_ids.clone();
        let grammar = match generation.constrained {
            true => {
                let prompt = match request.prompt {
                    Prompt::Text(text) => text.to_owned(),
                    Prompt::Ids(ids) => tokenizer.decode(ids, true)?,
                };
                Some(Grammar::new(&prompt, tokenizer, ends.clone())?)
            }
            false => None,
        };
        let mut guide = Guide {
            generation,
            prompt: ids.to_vec(),
            near: places(tokenizer),
            grammar,
            ends: [ends, generation.stop_ids.clone()].concat(),
            words: self.config().text.vocab_size.div_ceil(32),
            attempt: 0,
            seen: Vec::new(),
            read: 0,
        };
        guide.restart(0);
        Ok(guide)
    }

    /// The answer after a prefix that was read: its tokens, the end token included if it came.
    pub(crate) async fn answer(
        &self,
        session: &mut Session,
        guide: &mut Guide<'_>,
        request: &RunRequest<'_>,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(Vec<Scored>, Stopped), EngineError> {
        if guide.generation.num_beams > 1 {
            return self.search(session, guide, request, cancel, on_event).await;
        }
        let mut best: Option<(f64, Vec<Scored>, Stopped)> = None;
        for attempt in 0..guide.generation.best_of as u32 {
            if attempt > 0 {
                guide.restart(attempt);
                guide.steer(&self.model, session, 0..1)?;
                session.again(&self.model).await?;
            }
            let mut tokens = Vec::new();
            let stopped = self
                .follow(session, guide, request, cancel, &mut tokens, on_event)
                .await?;
            let sum: f64 = tokens.iter().map(|token| f64::from(token.log_prob)).sum();
            // An answer that was stopped half-way is no better for being short.
            let cut = stopped == Stopped::Cancelled && best.is_some();
            if !cut && best.as_ref().is_none_or(|(most, ..)| sum > *most) {
                best = Some((sum, tokens, stopped));
            }
            if cancel.is_cancelled() {
                break;
            }
        }
        let (_, tokens, stopped) = best.unwrap_or((0.0, Vec::new(), Stopped::Cancelled));
        Ok((tokens, stopped))
    }

    /// One answer, token by token, from the first, which the session has found.
    async fn follow(
        &self,
        session: &mut Session,
        guide: &mut Guide<'_>,
        request: &RunRequest<'_>,
        cancel: &CancelToken,
        tokens: &mut Vec<Scored>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Stopped, EngineError> {
        let stopped = self
            .follow_ahead(session, guide, request, cancel, tokens, on_event)
            .await;
        session.forget_ahead(&self.model)?;
        stopped
    }

    /// The same, and leaves steps behind that were begun before it was known that they are not
    /// wanted.
    async fn follow_ahead(
        &self,
        session: &mut Session,
        guide: &mut Guide<'_>,
        request: &RunRequest<'_>,
        cancel: &CancelToken,
        tokens: &mut Vec<Scored>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Stopped, EngineError> {
        let mut pace = Pace::new();
        for generated in 1.. {
            let Some(&next) = session.found().first() else {
                break;
            };
            tokens.push(next);
            if guide.ends.contains(&next.id) {
                return Ok(Stopped::Eos);
            }
            guide.push(next.id);
            self.tell(tokens, request, guide.generation, on_event)
                .await?;
            if cancel.is_cancelled() {
                return Ok(Stopped::Cancelled);
            }
            let is_full = session.room() == 0 && session.under_way() == 0;
            if generated >= request.max_new_tokens || is_full {
                return Ok(Stopped::Length);
            }
            let wanted = request.max_new_tokens.saturating_sub(generated);
            pace.submit(session, &self.model, wanted, |session, steps| {
                let first = generated + session.under_way();
                guide.steer(&self.model, session, first..first + steps)
            })?;
            let awaited = session.awaited();
            session.take(&self.model).await?;
            guide.read += 1;
            pace.came_back(awaited);
            if guide.needs_the_last_token() {
                pace.wait();
            }
        }
        Ok(Stopped::Length)
    }

    /// Tells of the answer so far.
    pub(crate) async fn tell(
        &self,
        tokens: &[Scored],
        request: &RunRequest<'_>,
        generation: &Generation,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let Some(last) = tokens.last() else {
            return Ok(());
        };
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let text = self.processor.decode_partial(&ids)?;
        let found = self
            .found(&text, tokens, request.pictures, generation)
            .await?;
        on_event(Event::Token {
            id: last.id,
            text,
            scores: found.scores(),
            detections: found.detections,
            count: tokens.len(),
        });
        Ok(())
    }

    /// The objects in a text with their masks, and what the probabilities of its tokens say about
    /// them.
    pub(crate) async fn found(
        &self,
        text: &str,
        tokens: &[Scored],
        pictures: &[Picture],
        generation: &Generation,
    ) -> Result<Found, EngineError> {
        let Some(picture) = pictures.first() else {
            return Ok(Found {
                detections: Vec::new(),
                evidence: Vec::new(),
            });
        };
        let size = (picture.width(), picture.height());
        let detections = detections(text, size.0, size.1);
        let evidence = evidence(tokens, self.processor.tokenizer(), &detections, size);
        let mut found = Found {
            detections,
            evidence,
        };
        if let Some(overlap) = generation.dedupe {
            found = found.without_duplicates(overlap);
        }
        self.masks.add_to(&mut found.detections, pictures).await?;
        Ok(found)
    }
}
