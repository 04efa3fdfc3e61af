//! The dedicated worker that hosts the engine; Trunk builds it beside the page.

fn main() {
    paligemma_browser::worker::start();
}
