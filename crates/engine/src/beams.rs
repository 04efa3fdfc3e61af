//! Beam search as big_vision does it: scores are summed log-probabilities without a length penalty;
//! at each step every live answer also counts as if it ended there, and the best answer that ended
//! is kept; the search is over when no live answer is better than that one.

use paligemma_model::{Scored, Session};

use crate::answer::{CancelToken, Event, Stopped};
use crate::engine::{Engine, RunRequest};
use crate::error::EngineError;
use crate::generate::Guide;

/// An answer and the sum of its log-probabilities.
#[derive(Clone, Debug, Default)]
struct Hypothesis {
    tokens: Vec<Scored>,
    score: f64,
}

impl Hypothesis {
    fn and(&self, next: Scored) -> Self {
        let mut tokens = self.tokens.clone();
        tokens.push(next);
        Self {
            tokens,
            score: self.score + f64::from(next.log_prob),
        }
    }
}

/// The state of a search, apart from the model.
struct Search {
    width: usize,
    live: Vec<Hypothesis>,
    ended: Option<Hypothesis>,
}

impl Search {
    fn new(width: usize) -> Self {
        Self {
            width,
            live: vec![Hypothesis::default()],
            ended: None,
        }
    }

    /// Goes on by one token, with what was found for each live answer: its most probable next
    /// tokens and then the `ends`. Returns which live answer each of the new ones continues.
    fn step(&mut self, found: &[Vec<Scored>], ends: &[u32]) -> Vec<usize> {
        let mut next: Vec<(usize, Hypothesis)> = Vec::new();
        for (parent, (live, found)) in self.live.iter().zip(found).enumerate() {
            let (few, also) = found.split_at(found.len().saturating_sub(ends.len()));
            for end in also {
                let ended = live.and(*end);
                if self
                    .ended
                    .as_ref()
                    .is_none_or(|best| ended.score > best.score)
                {
                    self.ended = Some(ended);
                }
            }
            let goes_on = |token: &&Scored| !ends.contains(&token.id) && token.id != u32::MAX;
            next.extend(
                few.iter()
                    .filter(goes_on)
                    .map(|token| (parent, live.and(*token))),
            );
        }
        // Stable: of equal scores the earlier answer's, and of one answer the earlier token.
        next.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        next.truncate(self.width);
        let (parents, live) = next.into_iter().unzip();
        self.live = live;
        parents
    }

    /// Log-probabilities only fall, so what is behind stays behind.
    fn is_over(&self) -> bool {
        let most = self
            .live
            .first()
            .map_or(f64::NEG_INFINITY, |live| live.score);
        self.ended.as_ref().is_some_and(|best| most < best.score)
    }
}

impl Engine {
    /// Searches from a prefix that the session has read.
    pub(crate) async fn search(
        &self,
        session: &mut Session,
        guide: &mut Guide<'_>,
        request: &RunRequest<'_>,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<(Vec<Scored>, Stopped), EngineError> {
        let model = &self.model;
        let width = guide.generation().num_beams;
        let mut others = Vec::with_capacity(width - 1);
        for _ in 1..width {
            let words = self.processor.tokenizer().vocab_size();
            let mut other = Session::new(model, session.capacity(), words)?;
            other.pick(model, guide.picking())?;
            others.push(other);
        }
        let mut sessions: Vec<&mut Session> = vec![session];
        sessions.extend(others.iter_mut());
        // Which session has each live answer's keys and values, and which have the prefix's.
        let mut slots = vec![0];
        let mut has_prefix = vec![false; width];
        if let Some(first) = has_prefix.first_mut() {
            *first = true;
        }

        let mut search = Search::new(width);
        for generated in 1.. {
            let found: Vec<Vec<Scored>> = slots
                .iter()
                .filter_map(|&slot| sessions.get(slot))
                .map(|session| session.found().to_vec())
                .collect();
            let parents = search.step(&found, &guide.ends);
            let best = search.live.first();
            if let Some(best) = best {
                self.tell(&best.tokens, request, guide.generation(), on_event)
                    .await?;
            }
            if cancel.is_cancelled() {
                let tokens = best.map(|best| best.tokens.clone()).unwrap_or_default();
                return Ok((tokens, Stopped::Cancelled));
            }
            let full = slots
                .first()
                .and_then(|&slot| sessions.get(slot))
                .is_none_or(|session| session.room() == 0);
            if search.is_over() || generated >= request.max_new_tokens || full {
                break;
            }
            let moves = assign(&slots, &parents, width);
            for (&(from, to), hypothesis) in moves.iter().zip(&search.live) {
                if from != to
                    && let Ok([source, target]) = sessions.get_disjoint_mut([from, to])
                {
                    let first = has_prefix.get(to).is_some_and(|has| !has);
                    target.follow(model, source, first)?;
                    if let Some(has) = has_prefix.get_mut(to) {
                        *has = true;
                    }
                }
                if let (Some(session), Some(last)) = (sessions.get(to), hypothesis.tokens.last()) {
                    session.put(model, last.id)?;
                }
            }
            slots = moves.into_iter().map(|(_, to)| to).collect();
            // All are handed over before the first is waited for.
            for &slot in &slots {
                if let Some(session) = sessions.get_mut(slot) {
                    session.submit(model)?;
                }
            }
            for &slot in &slots {
                if let Some(session) = sessions.get_mut(slot) {
                    session.take(model).await?;
                }
            }
            guide.read += 1;
        }
        let ended = search.ended.unwrap_or_default();
        Ok((ended.tokens, Stopped::Eos))
    }
}

/// Where each new live answer goes, from which session to which: the first that continues an
/// answer stays where that is; the others take sessions whose answers nobody continues.
fn assign(slots: &[usize], parents: &[usize], width: usize) -> Vec<(usize, usize)> {
    let source = |parent: &usize| slots.get(*parent).copied().unwrap_or_default();
    let sources: Vec<usize> = parents.iter().map(source).collect();
    let mut free = (0..width).filter(|slot| !sources.contains(slot));
    let mut kept = Vec::new();
    sources
        .iter()
        .map(|&from| {
            if !kept.contains(&from) {
                kept.push(from);
                return (from, from);
            }
            // As many are free as there are others: no more go on than there are sessions.
            (from, free.next().unwrap_or(from))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 1;

    fn scored(id: u32, probability: f32) -> Scored {
        Scored {
            id,
            log_prob: probability.ln(),
            near: [0.0; 4],
        }
    }

    fn found(few: &[(u32, f32)], end: f32) -> Vec<Scored> {
        let few = few.iter().map(|&(id, p)| scored(id, p));
        few.chain([scored(END, end)]).collect()
    }

    fn ids(hypothesis: &Hypothesis) -> Vec<u32> {
        hypothesis.tokens.iter().map(|token| token.id).collect()
    }

    /// Greedily 5 comes first, but what follows 6 is more probable in all.
    #[test]
    fn the_more_probable_whole_wins() {
        let mut search = Search::new(2);
        let parents = search.step(&[found(&[(5, 0.5), (6, 0.4), (7, 0.05)], 0.01)], &[END]);
        assert_eq!(parents, [0, 0]);
        assert!(!search.is_over());
        let after_5 = found(&[(8, 0.3), (9, 0.3), (10, 0.2)], 0.1);
        let after_6 = found(&[(END, 0.9), (8, 0.05), (9, 0.02)], 0.9);
        let parents = search.step(&[after_5, after_6], &[END]);
        assert_eq!(ids(search.ended.as_ref().unwrap()), [6, END]);
        // 0.15 twice; the end itself is not followed.
        assert_eq!(parents, [0, 0]);
        assert_eq!(ids(&search.live[1]), [5, 9]);
        assert!(search.is_over());
    }

    #[test]
    fn each_answer_keeps_a_session_and_none_is_taken_twice() {
        assert_eq!(assign(&[0], &[0, 0, 0], 3), [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(assign(&[2, 0, 1], &[1, 1, 2], 3), [(0, 0), (0, 2), (1, 1)]);
        assert_eq!(assign(&[2, 0, 1], &[2, 0, 1], 3), [(1, 1), (2, 2), (0, 0)]);
    }
}
