//! Starts the page.

fn main() {
    paligemma_app::mount();
}
