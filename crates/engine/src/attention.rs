//! Where a model looked when it chose a token of its answer.

use paligemma_model::{Input, Layers, Pass, Taps};
use paligemma_processor::Picture as Decoded;

use crate::engine::{Engine, Prompt, RunRequest};
use crate::error::EngineError;
use crate::forward::ForwardError;
use crate::picture::Picture;

/// Which token of which answer.
pub struct AttentionRequest<'a> {
    /// As they were asked about.
    pub pictures: &'a [Picture],
    /// As it was asked.
    pub prompt: Prompt<'a>,
    /// The answer's ids.
    pub answer: &'a [u32],
    /// Which of them, from 0.
    pub token: usize,
}

/// The attention weights with which one token was chosen: of the position before it, over
/// everything that is there, in every layer and head.
#[derive(Clone, Debug)]
pub struct AttentionMaps {
    layers: usize,
    heads: usize,
    /// Positions that were seen.
    keys: usize,
    /// Patches a side.
    side: usize,
    /// Positions of the image tokens, picture by picture.
    places: Vec<usize>,
    /// `[layers, heads, keys]`, each row of which sums to 1.
    weights: Vec<f32>,
}

/// Which layers and heads a [`Heat`] is the mean of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// One layer, from 0; none: all.
    pub layer: Option<usize>,
    /// One head, from 0; none: all.
    pub head: Option<usize>,
}

/// Attention on each patch of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    /// Patches a side.
    pub side: usize,
    /// The share of the attention that each patch has, row by row from the top left:
    /// `[side, side]`.
    pub values: Vec<f32>,
}

impl Engine {
    /// Attention weights for a token of an answer. The prompt and the answer up to that token are
    /// read once more, in one pass; pictures that were encoded before are not encoded again.
    ///
    /// # Errors
    /// A token that there is not, as [`Engine::run`], or weights that do not fit the GPU.
    pub async fn attention(
        &mut self,
        request: &AttentionRequest<'_>,
    ) -> Result<AttentionMaps, EngineError> {
        let tokens = request.answer.len();
        let token = request.token;
        if token >= tokens {
            return Err(ForwardError::Token { token, tokens }.into());
        }
        let prompt = RunRequest {
            pictures: request.pictures,
            prompt: request.prompt.clone(),
            max_new_tokens: 0,
        };
        let mut ids = self.input_ids(&prompt)?;
        let prefix = ids.len();
        ids.extend(&request.answer[..token]);
        let mut features = Vec::with_capacity(request.pictures.len());
        for (index, picture) in request.pictures.iter().enumerate() {
            let of = request.pictures.len();
            features.push(self.encode(picture, index, of, &mut |_| ()).await?);
        }

        let mut session = self.session(ids.len())?;
        session.clear();
        let last = ids.len() - 1;
        let mut taps = Taps::none()
            .with_attentions(Layers::All)
            .of_rows(last..last + 1);
        let pass = Pass {
            input: Input::Ids(&ids),
            images: &features,
            prefix,
        };
        let read = session.read(&self.model, &pass, &mut taps).await;
        self.session = Some(session);
        read?;
        let kept = taps.take_attentions();
        let mut weights = Vec::new();
        for layer in &kept {
            weights.extend(layer.read(self.model.gpu()).await?);
        }
        let config = self.config();
        let image = config.image_token_id;
        Ok(AttentionMaps {
            layers: kept.len(),
            heads: config.text.num_attention_heads,
            keys: ids.len(),
            side: config.vision.num_patches().isqrt(),
            places: (0..prefix).filter(|&at| ids[at] == image).collect(),
            weights,
        })
    }
}

impl Engine {
    /// What each token adds to the text of an answer; of a character that several tokens spell,
    /// the last one has it.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn token_texts(&self, ids: &[u32]) -> Result<Vec<String>, EngineError> {
        let mut texts = Vec::with_capacity(ids.len());
        let mut before = 0;
        for end in 1..=ids.len() {
            let text = self.processor.decode_partial(&ids[..end])?;
            texts.push(text.get(before..).unwrap_or_default().to_owned());
            before = text.len();
        }
        Ok(texts)
    }
}

impl AttentionMaps {
    /// Layers of the decoder.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Heads of a layer.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Pictures that were looked at.
    #[must_use]
    pub fn pictures(&self) -> usize {
        self.places.len() / (self.side * self.side).max(1)
    }

    /// The weights over all positions that were there, prompt and answer included, as the mean of
    /// the layers and heads in focus: `[positions]`, summing to 1.
    ///
    /// # Errors
    /// A layer or a head that there is not.
    pub fn weights(&self, focus: Focus) -> Result<Vec<f32>, ForwardError> {
        let (layers, heads) = (self.layers, self.heads);
        if let Some(layer) = focus.layer.filter(|layer| *layer >= layers) {
            let tower = "decoder";
            return Err(ForwardError::Layer {
                layer,
                tower,
                layers,
            });
        }
        if let Some(head) = focus.head.filter(|head| *head >= heads) {
            return Err(ForwardError::Head { head, heads });
        }
        let mut sums = vec![0.0f64; self.keys];
        let mut count = 0;
        for (index, row) in self.weights.chunks(self.keys.max(1)).enumerate() {
            let (layer, head) = (index / heads.max(1), index % heads.max(1));
            if focus.layer.is_some_and(|it| it != layer) || focus.head.is_some_and(|it| it != head)
            {
                continue;
            }
            count += 1;
            for (sum, weight) in sums.iter_mut().zip(row) {
                *sum += f64::from(*weight);
            }
        }
        let mean = |sum: f64| (sum / f64::from(count.max(1))) as f32;
        Ok(sums.into_iter().map(mean).collect())
    }

    /// The part of [`AttentionMaps::weights`] that falls on a picture.
    ///
    /// # Errors
    /// A picture, a layer or a head that there is not.
    pub fn heat(&self, focus: Focus, picture: usize) -> Result<Heat, ForwardError> {
        let weights = self.weights(focus)?;
        let patches = (self.side * self.side).max(1);
        let Some(places) = self.places.chunks(patches).nth(picture) else {
            let pictures = self.pictures();
            return Err(ForwardError::Picture { picture, pictures });
        };
        Ok(Heat {
            side: self.side,
            values: places
                .iter()
                .map(|&at| weights.get(at).copied().unwrap_or_default())
                .collect(),
        })
    }
}

/// From no attention to the most: dark blue, violet, red, orange, pale yellow.
const COLOURS: [[f32; 3]; 5] = [
    [20.0, 11.0, 70.0],
    [120.0, 28.0, 109.0],
    [203.0, 65.0, 64.0],
    [249.0, 142.0, 9.0],
    [252.0, 245.0, 160.0],
];

impl Heat {
    /// The share of the attention that is on this picture, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f32 {
        self.values.iter().sum()
    }

    /// The values as parts of the largest of them, from 0 to 1.
    #[must_use]
    pub fn normalised(&self) -> Vec<f32> {
        let most = self.values.iter().copied().fold(0.0, f32::max);
        let scale = if most > 0.0 { most.recip() } else { 0.0 };
        self.values.iter().map(|value| value * scale).collect()
    }

    /// The picture with the heat over it, as large as the picture: the more of it, the stronger
    /// the colour.
    #[must_use]
    pub fn over(&self, picture: &Picture) -> Decoded {
        let decoded = picture.decoded();
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let heat = self.normalised();
        let mut rgb = decoded.rgb().to_vec();
        for (index, pixel) in rgb.chunks_exact_mut(3).enumerate() {
            let (x, y) = (index % width.max(1), index / width.max(1));
            let value = self.between(&heat, x, width, y, height);
            let alpha = 0.35 + 0.45 * value;
            let colour = gradient(value);
            for (level, colour) in pixel.iter_mut().zip(colour) {
                *level = (f32::from(*level) * (1.0 - alpha) + colour * alpha).round() as u8;
            }
        }
        // As many bytes as there were.
        Decoded::from_rgb(decoded.width(), decoded.height(), rgb)
            .unwrap_or_else(|_| decoded.clone())
    }

    /// The value at the middle of a pixel, between those at the middles of patches.
    fn between(&self, heat: &[f32], x: usize, width: usize, y: usize, height: usize) -> f32 {
        let place = |at: usize, size: usize| {
            let at = (at as f32 + 0.5) / size.max(1) as f32 * self.side as f32 - 0.5;
            let at = at.clamp(0.0, self.side.saturating_sub(1) as f32);
            let low = at.floor();
            (low as usize, at - low)
        };
        let ((column, right), (row, down)) = (place(x, width), place(y, height));
        let last = self.side.saturating_sub(1);
        let at = |row: usize, column: usize| {
            let index = row.min(last) * self.side + column.min(last);
            heat.get(index).copied().unwrap_or_default()
        };
        let upper = at(row, column) * (1.0 - right) + at(row, column + 1) * right;
        let lower = at(row + 1, column) * (1.0 - right) + at(row + 1, column + 1) * right;
        upper * (1.0 - down) + lower * down
    }
}

/// The colour of a value from 0 to 1.
fn gradient(value: f32) -> [f32; 3] {
    let at = value.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let low = (at as usize).min(COLOURS.len() - 2);
    let part = at - low as f32;
    std::array::from_fn(|i| COLOURS[low][i] * (1.0 - part) + COLOURS[low + 1][i] * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers of two heads over four positions, of which the middle two... are a picture of
    /// one patch each.
    fn maps() -> AttentionMaps {
        AttentionMaps {
            layers: 2,
            heads: 2,
            keys: 4,
            side: 1,
            places: vec![1, 2],
            weights: vec![
                1.0, 0.0, 0.0, 0.0, // layer 0, head 0
                0.0, 1.0, 0.0, 0.0, //
                0.0, 0.0, 1.0, 0.0, // layer 1, head 0
                0.0, 0.5, 0.0, 0.5, //
            ],
        }
    }

    #[test]
    fn a_focus_is_a_mean_of_rows_that_sum_to_one() {
        let maps = maps();
        let focus = |layer, head| Focus { layer, head };
        assert_eq!(
            maps.weights(Focus::default()),
            Ok(vec![0.25, 0.375, 0.25, 0.125])
        );
        assert_eq!(
            maps.weights(focus(Some(1), None)),
            Ok(vec![0.0, 0.25, 0.5, 0.25])
        );
        assert_eq!(
            maps.weights(focus(Some(1), Some(0))),
            Ok(vec![0.0, 0.0, 1.0, 0.0])
        );
        assert_eq!(maps.pictures(), 2);
        let heat = maps.heat(focus(None, Some(1)), 0);
        assert_eq!(heat.map(|heat| heat.values), Ok(vec![0.75]));
        assert!(maps.weights(focus(Some(2), None)).is_err());
        assert!(maps.weights(focus(None, Some(2))).is_err());
        assert!(maps.heat(Focus::default(), 2).is_err());
    }

    #[test]
    fn heat_lies_where_its_patch_is() {
        let mut values = vec![0.0; 16];
        values[4 + 2] = 0.5; // row 1, column 2 of 4
        let heat = Heat { side: 4, values };
        assert_eq!(heat.share(), 0.5);
        assert_eq!(heat.normalised()[6], 1.0);
        let grey = Decoded::from_rgb(80, 40, vec![128; 80 * 40 * 3]);
        let picture = Picture::from(grey.expect("a picture"));
        let over = heat.over(&picture);
        assert_eq!((over.width(), over.height()), (80, 40));
        let red = |x: usize, y: usize| over.rgb()[(y * 80 + x) * 3];
        // The middle of that patch is brightest, the far corner darkest.
        assert!(red(50, 15) > red(40, 15) && red(40, 15) > red(5, 35));
        let nothing = Heat {
            side: 4,
            values: vec![0.0; 16],
        };
        assert_eq!(nothing.normalised(), vec![0.0; 16]);
    }
}
