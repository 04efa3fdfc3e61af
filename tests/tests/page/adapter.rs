//! A LoRA adapter in the page, and the attention mask of a prompt.

use paligemma_tests::server::Server;
use serde_json::json;

use crate::browser::{Page, WebGpu};
use crate::models::{DESKTOP, site};
use crate::sources::demo;

/// An adapter for the demo model's first layer, of rank 1: A of ones, and B of this number.
/// `inputs` is what the layer should have, 256.
fn put_adapter(server: &Server, folder: &str, b: f32, inputs: usize) {
    let config = json!({
        "peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"],
        "base_model_name_or_path": "demo",
    });
    let module = "base_model.model.model.language_model.layers.0.self_attn.q_proj";
    let outputs = 256;
    let header = json!({
        format!("{module}.lora_A.weight"): {
            "dtype": "F32", "shape": [1, inputs], "data_offsets": [0, 4 * inputs],
        },
        format!("{module}.lora_B.weight"): {
            "dtype": "F32", "shape": [outputs, 1],
            "data_offsets": [4 * inputs, 4 * (inputs + outputs)],
        },
    })
    .to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..inputs).flat_map(|_| 1.0_f32.to_le_bytes()));
    file.extend((0..outputs).flat_map(|_| b.to_le_bytes()));
    server.put(&format!("{folder}/adapter_model.safetensors"), file);
    let config = config.to_string().into_bytes();
    server.put(&format!("{folder}/adapter_config.json"), config);
}

impl Page {
    async fn names_adapter(&self, url: &str) {
        self.script("document.querySelector('#lora-fields').open = true")
            .await;
        self.script("document.querySelector('#lora').value = ''")
            .await;
        self.type_into("#lora", url).await;
    }
}

#[tokio::test]
async fn an_adapter_makes_a_model_of_its_own() {
    let (server, address) = site();
    server.put_folder("/m/base", &demo());
    put_adapter(&server, "/m/nothing", 0.0, 256);
    put_adapter(&server, "/m/misfit", 0.0, 128);
    let page = Page::open_at(address, "/", DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    page.click("#models-open").await;
    page.click("label:has(#origin-folder)").await;
    page.type_into("#packed-url", &server.url("/m/base/")).await;
    page.choose("#recipe", "as-stored").await;

    // One that is for another model is refused before any weight is read.
    page.names_adapter(&server.url("/m/misfit")).await;
    page.click("#examine").await;
    page.until("document.querySelector('#models-error')?.textContent.includes('q_proj')")
        .await;

    // One that changes nothing answers as before, under a name of its own.
    page.names_adapter(&server.url("/m/nothing")).await;
    page.click("#examine").await;
    page.until("document.querySelector('#offer')?.dataset.key.length === 64")
        .await;
    page.click("#fetch").await;
    page.until_answers("base + nothing").await;
    let kept = ("base + nothing".to_owned(), "complete".to_owned());
    assert!(page.list().await.contains(&kept));
    page.script("document.querySelector('dialog#models').close()")
        .await;
    page.click(".samples .strip li:nth-child(2) button").await;
    page.until("document.querySelector('#ground-truth').textContent.includes('boat')")
        .await;
    page.answer("detect boat").await;
    assert_eq!(page.detections().await.len(), 2);
    page.close().await;
}

#[tokio::test]
async fn the_attention_mask_of_the_prompt_is_drawn() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    page.click("#mask-panel summary").await;
    // Five image tokens attend to each other, and to themselves.
    page.until("document.querySelectorAll('#mask rect.image').length === 25")
        .await;
    let before = "document.querySelectorAll('#mask rect.diagonal').length";
    let before = page.script(&format!("return {before}")).await;
    // A longer prompt has more tokens.
    page.ask("answer en how many of these boats are there in all?")
        .await;
    page.until(&format!(
        "document.querySelectorAll('#mask rect.diagonal').length > {before}"
    ))
    .await;
    page.close().await;
}
