//! Where the model looked when it chose a token.

use paligemma_engine::{AttentionMaps, AttentionRequest, EngineError, Focus, Picture, Prompt};

use super::{Shared, convert, no_model};
use crate::protocol::{AttentionMap, Event, Look, PictureHeat, Problem, ProblemKind};

/// A request that waits for its turn.
pub(super) struct Looking {
    pub(super) id: u32,
    pub(super) names: Vec<u32>,
    pub(super) pictures: Vec<Picture>,
    pub(super) look: Look,
}

/// The weights of the token that was last looked at: other layers and heads of it cost nothing.
pub(super) struct Looked {
    names: Vec<u32>,
    look: Look,
    tokens: Vec<String>,
    maps: AttentionMaps,
}

impl Looked {
    fn is_of(&self, looking: &Looking) -> bool {
        let look = &looking.look;
        self.names == looking.names
            && self.look.token == look.token
            && self.look.prompt == look.prompt
            && self.look.token_ids == look.token_ids
    }
}

impl<C> Shared<C> {
    pub(super) async fn look(&self, looking: Looking) {
        match self.try_look(&looking).await {
            Ok(map) => (self.post)(Event::Attention {
                id: looking.id,
                map,
            }),
            Err(problem) => (self.post)(Event::Failed {
                id: looking.id,
                problem,
            }),
        }
    }

    async fn try_look(&self, looking: &Looking) -> Result<AttentionMap, Problem> {
        let kept = self.looked.borrow_mut().take();
        let looked = match kept.filter(|kept| kept.is_of(looking)) {
            Some(kept) => kept,
            None => self.weigh(looking).await?,
        };
        let map = draw(&looked, &looking.look);
        *self.looked.borrow_mut() = Some(looked);
        map.map_err(|error| convert::problem(&error))
    }

    async fn weigh(&self, looking: &Looking) -> Result<Looked, Problem> {
        let taken = self.engine.borrow_mut().take();
        let Some(mut engine) = taken else {
            return Err(no_model());
        };
        let look = &looking.look;
        let request = AttentionRequest {
            pictures: &looking.pictures,
            prompt: Prompt::Text(&look.prompt),
            answer: &look.token_ids,
            token: look.token as usize,
        };
        let maps = engine.attention(&request).await;
        let tokens = engine.token_texts(&look.token_ids);
        let broken = engine.is_broken();
        if !broken {
            *self.engine.borrow_mut() = Some(engine);
        }
        let both = maps.and_then(|maps| Ok((maps, tokens?)));
        let (maps, tokens) = both.map_err(|error| {
            let mut problem = convert::problem(&error);
            if broken && problem.kind != ProblemKind::OutOfMemory {
                problem.kind = ProblemKind::DeviceLost;
            }
            problem
        })?;
        Ok(Looked {
            names: looking.names.clone(),
            look: look.clone(),
            tokens,
            maps,
        })
    }
}

fn draw(looked: &Looked, look: &Look) -> Result<AttentionMap, EngineError> {
    let maps = &looked.maps;
    let focus = Focus {
        layer: look.layer.map(|layer| layer as usize),
        head: look.head.map(|head| head as usize),
    };
    let heats = (0..maps.pictures()).map(|picture| maps.heat(focus, picture));
    let heats = heats.collect::<Result<Vec<_>, _>>()?;
    let values = heats.iter().flat_map(|heat| heat.values.iter().copied());
    let most = values.fold(0.0, f32::max);
    let scale = if most > 0.0 { most.recip() } else { 0.0 };
    Ok(AttentionMap {
        tokens: looked.tokens.clone(),
        layers: maps.layers() as u32,
        heads: maps.heads() as u32,
        side: heats.first().map_or(0, |heat| heat.side as u32),
        pictures: heats
            .iter()
            .map(|heat| PictureHeat {
                share: heat.share(),
                heat: heat.values.iter().map(|value| value * scale).collect(),
            })
            .collect(),
    })
}
