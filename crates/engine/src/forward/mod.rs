//! Forward passes by transformers' names: what goes in, what comes out, and nothing that was not
//! asked for.

mod batch;
mod error;
mod output;
mod request;
mod trace;
mod vision;

use std::ops::Range;

use paligemma_model::{Input, Layers, Pass, Residual, Session, Taps};
use paligemma_processor::IGNORED;

pub use self::batch::{BatchOutput, ModelInputs, PreparedImages};
pub use self::error::ForwardError;
pub use self::output::{Array, ForwardOutput, LayerAttention, Loss, NamedTensor, VisionOutput};
pub use self::request::{
    CacheValues, ForwardRequest, Images, LogitsToKeep, Outputs, PastKeyValues, VisionOutputs,
};
pub use self::trace::{Trace, TraceOptions};
use crate::engine::Engine;
use crate::error::EngineError;

/// A request that was looked through.
struct Checked<'a> {
    input: Input<'a>,
    /// Places of the tokens that are read, in the row as it was given.
    tokens: Range<usize>,
    prefix: usize,
    keep: Vec<usize>,
    /// Row that predicts, place of the target, target.
    targets: Vec<(usize, usize, u32)>,
}

impl Engine {
    /// One pass over a row of tokens: transformers' `PaliGemmaForConditionalGeneration.forward`
    /// for a batch of one, and `PaliGemmaModel.forward` if no logits are kept.
    ///
    /// # Errors
    /// A request that contradicts itself ([`ForwardError`]), tokens or images that do not fit the
    /// model, or a GPU that fails. A cache that was given is as it was, unless the GPU failed.
    pub async fn forward(
        &mut self,
        mut request: ForwardRequest<'_>,
    ) -> Result<ForwardOutput, EngineError> {
        let checked = self.check(&request)?;
        let rows = checked.tokens.len();
        let (features, vision) = self
            .look(request.images, &request.outputs.vision, false)
            .await?;

        let mut past = request.past_key_values.take();
        let before = past.as_ref().map_or(0, |past| past.seq_length());
        let mut session = match past.as_mut() {
            Some(past) => match past.take(&self.gpu)? {
                Some(kept) => kept,
                None => self.new_session(rows)?,
            },
            None => {
                let mut session = self.session(rows)?;
                session.clear();
                session
            }
        };
        let pass = Pass {
            input: checked.input,
            images: &features,
            prefix: checked.prefix,
        };
        let outputs = &request.outputs;
        let mut taps = if outputs.hidden_states {
            Taps::all()
        } else {
            Taps::none()
        };
        taps = taps.with_attentions(outputs.attentions.clone());
        let read = match session.grow(&self.model, before + rows) {
            Ok(()) => session.read(&self.model, &pass, &mut taps).await,
            Err(error) => Err(error),
        };
        match past {
            Some(past) => past.0 = Some((session, self.gpu.clone())),
            None => self.session = Some(session),
        }
        let residual = read?;

        let mut output = ForwardOutput {
            vision,
            padding: checked.tokens.start,
            ..ForwardOutput::default()
        };
        if outputs.image_hidden_states {
            output.image_hidden_states = Some(self.stacked(&features).await?);
        }
        self.read_taps(&mut taps, rows, outputs.hidden_states, &mut output)
            .await?;
        self.read_last(&residual, outputs, &mut output).await?;
        if !checked.keep.is_empty() {
            let normed = self.model.final_norm(&residual, &checked.keep)?;
            let shape = [checked.keep.len(), self.config().text.vocab_size];
            output.logits = Some(Array::new(shape, self.model.logits(&normed).await?));
        }
        if request.labels.is_some() {
            output.loss = Some(self.loss(&residual, &checked.targets).await?);
        }
        Ok(output)
    }

    /// The vectors of ids as the decoder reads them, scaled by √hidden: `[ids, hidden]`. This is
    /// transformers' `get_input_embeddings()(ids)`.
    ///
    /// # Errors
    /// Ids outside the vocabulary, or a GPU that fails.
    pub async fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, EngineError> {
        Ok(self.model.embed(ids).await?)
    }

    fn check<'a>(&self, request: &ForwardRequest<'a>) -> Result<Checked<'a>, EngineError> {
        let text = &self.config().text;
        let hidden = text.hidden_size.max(1);
        let total = match (request.input_ids, request.inputs_embeds) {
            (Some(ids), None) => ids.len(),
            (None, Some(values)) if values.len().is_multiple_of(hidden) => values.len() / hidden,
            (None, Some(values)) => {
                let got = values.len();
                return Err(ForwardError::Embeddings { got, hidden }.into());
            }
            (Some(_), Some(_)) => return Err(ForwardError::Input { given: "both" }.into()),
            (None, None) => return Err(ForwardError::Input { given: "neither" }.into()),
        };
        for (what, got) in [
            ("attention_mask", request.attention_mask.map(<[u32]>::len)),
            ("token_type_ids", request.token_type_ids.map(<[u32]>::len)),
            ("labels", request.labels.map(<[i64]>::len)),
        ] {
            if let Some(got) = got.filter(|got| *got != total) {
                let tokens = total;
                return Err(ForwardError::Length { what, got, tokens }.into());
            }
        }
        let padding = padding(request.attention_mask.unwrap_or_default())?;
        let follows = request
            .past_key_values
            .as_ref()
            .is_some_and(|past| past.seq_length() > 0);
        if follows && padding > 0 {
            return Err(ForwardError::PaddingInside.into());
        }
        if padding == total && total > 0 {
            return Err(ForwardError::OnlyPadding.into());
        }
        let tokens = padding..total;
        let prefix = match request.token_type_ids {
            _ if follows => 0,
            Some(types) => prefix(&types[padding..], padding)?,
            None => tokens.len(),
        };
        layers_exist(
            &request.outputs.attentions,
            "decoder",
            text.num_hidden_layers,
        )?;
        let vision_layers = self.config().vision.num_hidden_layers;
        let wanted = &request.outputs.vision.attentions;
        layers_exist(wanted, "vision tower", vision_layers)?;
        let input = match (request.input_ids, request.inputs_embeds) {
            (Some(ids), _) => Input::Ids(&ids[padding..]),
            (None, values) => Input::Embeddings(&values.unwrap_or_default()[padding * hidden..]),
        };
        Ok(Checked {
            keep: kept(&request.outputs.logits_to_keep, &tokens)?,
            targets: targets(request.labels.unwrap_or_default(), &tokens, text.vocab_size)?,
            input,
            tokens,
            prefix,
        })
    }

    async fn read_taps(
        &self,
        taps: &mut Taps,
        rows: usize,
        hidden_states: bool,
        output: &mut ForwardOutput,
    ) -> Result<(), EngineError> {
        let gpu = self.model.gpu();
        for weights in taps.take_attentions() {
            output.attentions.push(LayerAttention {
                layer: weights.layer,
                weights: Array::new(
                    [weights.heads, weights.rows, weights.keys],
                    weights.read(gpu).await?,
                ),
            });
        }
        if hidden_states {
            let last = format!(
                "text.layer_out.{}",
                self.config().text.num_hidden_layers - 1
            );
            let hidden = self.config().text.hidden_size;
            let mut states = Vec::new();
            // In their place transformers has the final norm's output.
            for (_, tensor) in taps.take().into_iter().filter(|(name, _)| *name != last) {
                let values = self.model.read(&tensor).await?;
                states.push(Array::new([rows, hidden], values));
            }
            output.hidden_states = Some(states);
        }
        Ok(())
    }

    async fn read_last(
        &self,
        residual: &Residual,
        outputs: &Outputs,
        output: &mut ForwardOutput,
    ) -> Result<(), EngineError> {
        if outputs.last_hidden_state {
            let kept = output.hidden_states.as_ref().and_then(|all| all.last());
            output.last_hidden_state = Some(match kept {
                Some(last) => last.clone(),
                None => {
                    let rows: Vec<usize> = (0..residual.rows()).collect();
                    let normed = self.model.final_norm(residual, &rows)?;
                    let values = self.model.read(&normed).await?;
                    Array::new([rows.len(), self.config().text.hidden_size], values)
                }
            });
        }
        Ok(())
    }

    async fn loss(
        &self,
        residual: &Residual,
        targets: &[(usize, usize, u32)],
    ) -> Result<Loss, EngineError> {
        if targets.is_empty() {
            return Ok(Loss::new(Vec::new()));
        }
        let rows: Vec<usize> = targets.iter().map(|(row, ..)| *row).collect();
        let ids: Vec<u32> = targets.iter().map(|(.., id)| *id).collect();
        let normed = self.model.final_norm(residual, &rows)?;
        let nats = self.model.cross_entropy(&normed, &ids).await?;
        let places = targets.iter().map(|(_, place, _)| *place);
        Ok(Loss::new(places.zip(nats).collect()))
    }

    pub(crate) fn new_session(&self, positions: usize) -> Result<Session, EngineError> {
        let words = self.processor.tokenizer().vocab_size();
        Ok(Session::new(&self.model, positions, words)?)
    }
}

/// Zeros at the beginning of a mask.
fn padding(mask: &[u32]) -> Result<usize, ForwardError> {
    let zeros = mask.iter().take_while(|&&one| one == 0).count();
    match mask[zeros..].iter().position(|&one| one == 0) {
        Some(at) => Err(ForwardError::Mask {
            position: zeros + at,
        }),
        None => Ok(zeros),
    }
}

/// Zeros at the beginning of token types; `offset` is their place in the row.
fn prefix(types: &[u32], offset: usize) -> Result<usize, ForwardError> {
    let zeros = types.iter().take_while(|&&one| one == 0).count();
    match types[zeros..].iter().position(|&one| one != 1) {
        Some(at) => Err(ForwardError::TokenTypes {
            position: offset + zeros + at,
            found: types[zeros + at],
        }),
        None => Ok(zeros),
    }
}

/// Rows whose logits are kept, counted from the first token.
fn kept(which: &LogitsToKeep, tokens: &Range<usize>) -> Result<Vec<usize>, ForwardError> {
    let count = tokens.len();
    Ok(match which {
        LogitsToKeep::All => (0..count).collect(),
        LogitsToKeep::None => Vec::new(),
        LogitsToKeep::Last(last) => (count - count.min(*last)..count).collect(),
        LogitsToKeep::Positions(positions) => positions
            .iter()
            .map(|&position| match tokens.contains(&position) {
                true => Ok(position - tokens.start),
                false => Err(ForwardError::Position {
                    position,
                    first: tokens.start,
                    last: tokens.end.saturating_sub(1),
                }),
            })
            .collect::<Result<_, _>>()?,
    })
}

/// For each label that counts: the row that predicts it, its place, and itself.
fn targets(
    labels: &[i64],
    tokens: &Range<usize>,
    vocabulary: usize,
) -> Result<Vec<(usize, usize, u32)>, ForwardError> {
    let mut targets = Vec::new();
    for (position, &label) in labels.iter().enumerate() {
        if label == IGNORED {
            continue;
        }
        let id = u32::try_from(label)
            .ok()
            .filter(|id| (*id as usize) < vocabulary);
        let Some(id) = id else {
            return Err(ForwardError::Label {
                label,
                position,
                vocabulary,
            });
        };
        // Nothing predicts the first token, nor what is padding.
        if position > tokens.start {
            targets.push((position - 1 - tokens.start, position, id));
        }
    }
    Ok(targets)
}

pub(crate) fn layers_exist(
    wanted: &Layers,
    tower: &'static str,
    layers: usize,
) -> Result<(), ForwardError> {
    let Layers::These(these) = wanted else {
        return Ok(());
    };
    match these.iter().find(|layer| **layer >= layers) {
        Some(&layer) => Err(ForwardError::Layer {
            layer,
            tower,
            layers,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_types_are_two_runs() {
        assert_eq!(padding(&[0, 0, 1, 1]), Ok(2));
        assert_eq!(padding(&[]), Ok(0));
        assert_eq!(padding(&[1, 0, 1]), Err(ForwardError::Mask { position: 1 }));
        assert_eq!(prefix(&[0, 0, 1], 5), Ok(2));
        let mixed = ForwardError::TokenTypes {
            position: 7,
            found: 0,
        };
        assert_eq!(prefix(&[0, 1, 0], 5), Err(mixed));
        assert!(prefix(&[0, 2], 0).is_err());
    }

    #[test]
    fn kept_rows_are_counted_without_padding() {
        assert_eq!(kept(&LogitsToKeep::Last(2), &(3..6)), Ok(vec![1, 2]));
        assert_eq!(kept(&LogitsToKeep::Last(9), &(3..6)), Ok(vec![0, 1, 2]));
        assert_eq!(kept(&LogitsToKeep::from(0), &(3..5)), Ok(vec![0, 1]));
        let positions = |all: &[usize]| kept(&LogitsToKeep::Positions(all.to_vec()), &(3..6));
        assert_eq!(positions(&[5, 3]), Ok(vec![2, 0]));
        for position in [2, 6] {
            assert!(positions(&[position]).is_err());
        }
    }

    #[test]
    fn a_label_is_predicted_at_the_token_before() {
        let found = targets(&[IGNORED, 7, IGNORED, 3], &(1..4), 8);
        // 7 is the first token after the padding: nothing predicts it.
        assert_eq!(found, Ok(vec![(1, 3, 3)]));
        for label in [8, -1, i64::MAX] {
            assert!(targets(&[0, label], &(0..2), 8).is_err(), "{label}");
        }
    }
}
