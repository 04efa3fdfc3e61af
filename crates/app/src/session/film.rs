//! Further pictures of the same question, beside the one on the stage.

use std::rc::Rc;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use paligemma_browser::client::PictureHandle;
use paligemma_browser::protocol::{Event, Problem, ProblemKind};
use web_sys::FileList;

use super::{PictureFile, Session};
use crate::film::{Frame, MOST};
use crate::platform::file;

/// A further picture, or one that is on its way.
pub(super) struct Further {
    /// Identifies it to the page.
    id: u32,
    /// The stage's turn when it came: a picture that comes to the stage later sends it away.
    turn: u32,
    file: PictureFile,
    handle: Option<Rc<PictureHandle>>,
    /// The worker knows its size: it is a picture.
    ready: bool,
}

impl Session {
    /// Puts the first file on the stage and the others beside it.
    pub(crate) fn show_all(self, files: Vec<PictureFile>) {
        let mut files = files.into_iter();
        if let Some(first) = files.next() {
            self.show(first);
            self.add(files.collect());
        }
    }

    /// Puts files beside the picture that is on the stage or on its way there.
    pub(crate) fn add(self, files: Vec<PictureFile>) {
        for file in files {
            let added = self.inner.try_update_value(|inner| {
                if inner.further.len() + 1 >= MOST {
                    return None;
                }
                inner.further_id += 1;
                let (id, turn) = (inner.further_id, inner.picture_turn);
                inner.further.push(Further {
                    id,
                    turn,
                    file: file.clone(),
                    handle: None,
                    ready: false,
                });
                Some(id)
            });
            match added.flatten() {
                Some(id) => spawn_local(self.bring(id, file)),
                None => {
                    self.refuse_offer(too_many());
                    return;
                }
            }
        }
    }

    async fn bring(self, id: u32, picture: PictureFile) {
        let bytes = file::bytes(&picture.blob).await;
        let url = file::ObjectUrl::new(&picture.blob);
        let (Ok(bytes), Some(url), Some(client)) = (bytes, url, self.client()) else {
            self.take_away(id);
            return self.refuse_offer(Problem {
                kind: ProblemKind::Picture,
                message: format!(
                    "{} could not be read: it may have been moved or changed since it was chosen. \
                     Choose it again.",
                    picture.name
                ),
            });
        };
        let frame = Frame {
            id,
            url: Arc::new(url),
            name: picture.name,
            width: 0,
            height: 0,
        };
        let handle = client.picture(bytes, move |event| match event {
            Event::Picture { width, height, .. } => self.develop(Frame {
                width,
                height,
                ..frame.clone()
            }),
            Event::Failed { problem, .. } if problem.kind == ProblemKind::Picture => {
                self.take_away(id);
                self.refuse_offer(problem);
            }
            _ => {}
        });
        self.inner.update_value(|inner| {
            if let Some(further) = inner.further.iter_mut().find(|further| further.id == id) {
                further.handle = Some(Rc::new(handle));
            }
        });
    }

    /// The worker has decoded it: it takes its place in the strip.
    fn develop(self, frame: Frame) {
        let known = self.inner.try_update_value(|inner| {
            let further = inner.further.iter_mut().find(|it| it.id == frame.id);
            further.map(|further| further.ready = true).is_some()
        });
        if known != Some(true) {
            return;
        }
        self.another_question();
        let order: Vec<u32> = self
            .inner
            .with_value(|inner| inner.further.iter().map(|further| further.id).collect());
        let place = |frame: &Frame| order.iter().position(|id| *id == frame.id);
        self.page.film.update(|film| {
            film.push(frame);
            film.sort_by_key(place);
        });
    }

    /// Takes a further picture away.
    pub(crate) fn take_away(self, id: u32) {
        self.inner
            .update_value(|inner| inner.further.retain(|further| further.id != id));
        if self
            .page
            .film
            .with_untracked(|film| film.iter().any(|frame| frame.id == id))
        {
            self.another_question();
            self.page
                .film
                .update(|film| film.retain(|frame| frame.id != id));
        }
    }

    /// A picture comes to the stage at this turn: those that came before it go.
    pub(super) fn clear_film(self, turn: u32) {
        let kept = self.inner.try_update_value(|inner| {
            inner.further.retain(|further| further.turn >= turn);
            inner
                .further
                .iter()
                .map(|further| further.id)
                .collect::<Vec<_>>()
        });
        let kept = kept.unwrap_or_default();
        self.page
            .film
            .update(|film| film.retain(|frame| kept.contains(&frame.id)));
    }

    /// The files of the strip, to begin again with; the strip is empty then.
    pub(super) fn unload_film(self) -> Vec<PictureFile> {
        self.page.film.set(Vec::new());
        let all = self
            .inner
            .try_update_value(|inner| std::mem::take(&mut inner.further));
        let all = all.unwrap_or_default();
        all.into_iter().map(|further| further.file).collect()
    }

    /// Every picture that a question is about, the one on the stage first.
    pub(super) fn handles(self) -> Vec<Rc<PictureHandle>> {
        self.inner.with_value(|inner| {
            let first = inner.current.iter().map(|current| current.handle.clone());
            let ready = inner.further.iter().filter(|further| further.ready);
            first
                .chain(ready.map(|further| further.handle.clone()))
                .flatten()
                .collect()
        })
    }

    /// The answer that is there was about other pictures.
    fn another_question(self) {
        self.stop();
        self.forget_run();
        self.page.clear_reply();
    }
}

fn too_many() -> Problem {
    Problem {
        kind: ProblemKind::Picture,
        message: format!(
            "More than {MOST} pictures at once are too many for one question: take some away first."
        ),
    }
}

/// The files of a list as pictures without a known truth.
pub(crate) fn picture_files(list: Option<FileList>, unnamed: &str) -> Vec<PictureFile> {
    let Some(list) = list else {
        return Vec::new();
    };
    (0..list.length())
        .filter_map(|index| list.get(index))
        .map(|file| PictureFile {
            name: Some(file.name())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| unnamed.to_owned()),
            blob: file.into(),
            truth: None,
        })
        .collect()
}
