//! Pictures on their way to the stage and to the worker.

use std::rc::Rc;
use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use paligemma_browser::client::PictureHandle;
use paligemma_browser::protocol::{Event, Problem, ProblemKind};

use super::{Inner, Offered, PictureFile, Session};
use crate::platform::{file, page as address};
use crate::prompt::preset::{self, Task};
use crate::state::Shown;

impl Session {
    /// Puts a file on the stage, if it is a picture. The browser shows it as soon as it can; the
    /// worker's word is what counts.
    pub(crate) fn show(self, file: PictureFile) {
        self.show_when_made(std::future::ready(Ok(file)));
    }

    /// The same with a file that is yet to be fetched or composed. Its turn is taken now: whatever
    /// was asked for last is what is shown, however long it takes to make.
    pub(crate) fn show_when_made(
        self,
        making: impl Future<Output = Result<PictureFile, Problem>> + 'static,
    ) {
        self.page.picture_problem.set(None);
        let turn = self.inner.try_update_value(|inner| {
            inner.picture_turn += 1;
            inner.picture_turn
        });
        let Some(turn) = turn else { return };
        spawn_local(async move {
            match making.await {
                Ok(file) => self.offer(turn, file).await,
                Err(problem) if self.is_latest(turn) => self.refuse_offer(problem),
                Err(_) => {}
            }
        });
    }

    async fn offer(self, turn: u32, file: PictureFile) {
        let bytes = file::bytes(&file.blob).await;
        if !self.is_latest(turn) {
            return;
        }
        let (Ok(bytes), Some(url)) = (bytes, file::ObjectUrl::new(&file.blob)) else {
            return self.refuse(turn, unreadable(&file.name));
        };
        let picture = Shown {
            turn,
            url: Arc::new(url),
            name: file.name.clone(),
            width: 0,
            height: 0,
            truth: file.truth.clone(),
        };
        let client = self.inner.with_value(|inner| inner.client.clone());
        let has_worker = client.is_some();
        self.inner.update_value(|inner| {
            inner.offered = Some(Offered {
                turn,
                file,
                handle: None,
            });
        });
        if let Some(client) = client {
            let picture = picture.clone();
            let handle = client.picture(bytes, move |event| match event {
                Event::Picture { width, height, .. } => {
                    self.accept(Shown {
                        width,
                        height,
                        ..picture.clone()
                    });
                }
                // What ails the worker as a whole is told elsewhere.
                Event::Failed { problem, .. } if problem.kind == ProblemKind::Picture => {
                    self.refuse(turn, problem);
                }
                _ => {}
            });
            self.inner
                .update_value(|inner| inner.attach(turn, Rc::new(handle)));
        }
        match file::image(picture.url.as_str()).await {
            Ok(image) => {
                let (width, height) = (image.natural_width(), image.natural_height());
                self.accept(Shown {
                    width,
                    height,
                    ..picture
                });
            }
            Err(_) if !has_worker => self.refuse(turn, not_a_picture(&picture.name)),
            Err(_) => {}
        }
    }

    /// Says why something that was offered never became a file.
    pub(crate) fn refuse_offer(self, problem: Problem) {
        self.page.picture_problem.set(Some(problem));
    }

    fn is_latest(self, turn: u32) -> bool {
        self.inner.with_value(|inner| inner.picture_turn == turn)
    }

    fn accept(self, shown: Shown) {
        if !self.is_latest(shown.turn) {
            return;
        }
        let fresh = self.inner.try_update_value(|inner| {
            let offered = inner.offered.take_if(|offered| offered.turn == shown.turn);
            offered
                .map(|offered| inner.current = Some(offered))
                .is_some()
        });
        if fresh == Some(true) {
            self.stop();
            self.forget_run();
            self.page.clear_reply();
            self.clear_film(shown.turn);
            let truth = shown.truth.as_ref();
            address::set_seed_in_address(truth.and_then(|truth| truth.seed));
            // Of a model that is not the demo's, it is the person who knows what to ask.
            let suggests = !self.page.prompt_typed.get_untracked()
                && self.page.templates.with_untracked(|known| known.is_empty());
            if let Some(truth) = truth.filter(|_| suggests) {
                let task = preset::read(&self.page.prompt.get_untracked())
                    .map_or(Task::Detect, |(task, _)| task);
                self.page.suggest(task.compose(&truth.labels()));
            }
        }
        // Both the browser and the worker call; a picture that was refused stays away.
        let wanted = self
            .inner
            .with_value(|inner| inner.current.as_ref().map(|it| it.turn))
            == Some(shown.turn);
        if wanted {
            self.page.picture.set(Some(shown));
        }
    }

    fn refuse(self, turn: u32, problem: Problem) {
        if !self.is_latest(turn) {
            return;
        }
        self.inner.update_value(|inner| {
            inner.offered = None;
            if inner
                .current
                .as_ref()
                .is_some_and(|current| current.turn == turn)
            {
                inner.current = None;
            }
        });
        if self
            .page
            .picture
            .with_untracked(|it| it.as_ref().is_some_and(|it| it.turn == turn))
        {
            self.page.picture.set(None);
            self.page.clear_reply();
        }
        self.page.picture_problem.set(Some(problem));
    }
}

impl Inner {
    /// The worker's handle reaches the picture, which by now may be on the stage already.
    fn attach(&mut self, turn: u32, handle: Rc<PictureHandle>) {
        let pictures = [self.offered.as_mut(), self.current.as_mut()];
        if let Some(picture) = pictures
            .into_iter()
            .flatten()
            .find(|picture| picture.turn == turn)
        {
            picture.handle = Some(handle);
        }
    }
}

fn unreadable(name: &str) -> Problem {
    Problem {
        kind: ProblemKind::Picture,
        message: format!(
            "{name} could not be read: it may have been moved or changed since it was chosen. \
             Choose it again."
        ),
    }
}

fn not_a_picture(name: &str) -> Problem {
    Problem {
        kind: ProblemKind::Picture,
        message: format!(
            "{name} is not a picture that this browser can show: choose a PNG, JPEG, WebP, GIF or \
             BMP file."
        ),
    }
}
