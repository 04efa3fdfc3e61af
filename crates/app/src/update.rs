//! Tells the person of a newer version of the page. It comes when they want it, never by itself.

use leptos::prelude::*;

use crate::platform::offline::{self, Version};

/// Has the page kept for times without a network, and offers its newer version when there is one.
#[component]
pub(crate) fn Update() -> impl IntoView {
    let version = RwSignal::new(Version::Current);
    offline::keep(version);
    let leaving = move || version.get() == Version::Leaving;
    view! {
        <div role="status">
            <Show when=move || version.get() != Version::Current>
                <div class="update" id="update">
                    <p>
                        "A new version is ready"
                        <small>"Updating reloads the page."</small>
                    </p>
                    <button
                        class="primary"
                        id="update-now"
                        type="button"
                        disabled=leaving
                        on:click=move |_| offline::let_in(version)
                    >
                        "Update"
                    </button>
                    <button
                        class="quiet"
                        id="update-later"
                        type="button"
                        disabled=leaving
                        on:click=move |_| version.set(Version::Current)
                    >
                        "Later"
                    </button>
                </div>
            </Show>
        </div>
    }
}
