//! A repository of a hub.

use paligemma_browser::http::Token;
use paligemma_browser::hub::{HubRepository, PinnedRepository};
use paligemma_checkpoint::{Digest, Source, SourceError};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::server::{Server, file, haste};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A hub whose file is 1000 bytes long, in a script.
fn hub(rest: &str) -> String {
    format!(
        "const list = {{sha: '{COMMIT}', gated: 'manual', cardData: {{license: 'gemma'}}, siblings: [
           {{rfilename: 'config.json', size: 1000}},
           {{rfilename: 'in/model.safetensors', size: 1000,
             lfs: {{sha256: '{SHA256}', size: 1000}}}}]}};
         log.push(`${{url}} ${{init.headers.get('Authorization')}}`);
         const api = url.includes('/api/');
         {rest}
         return api ? Response.json(list) : part();"
    )
}

async fn resolve(token: Option<&str>) -> Result<PinnedRepository, SourceError> {
    let repository = HubRepository::new("https://hub.example", "owner/name", "refs/pr/1").unwrap();
    let token = token.map(|token| Token::new(token).unwrap());
    repository.resolve(token, &haste()).await
}

#[wasm_bindgen_test]
async fn a_revision_is_pinned_and_read() {
    let server = Server::new(&hub(""));
    let pinned = resolve(Some("hf_x"))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(pinned.commit(), COMMIT);
    assert_eq!(pinned.licence(), Some("gemma"));
    assert!(pinned.is_gated());
    assert_eq!(pinned.files().len(), 2);
    let digest: Digest = SHA256.parse().unwrap();
    assert_eq!(pinned.digest("in/model.safetensors"), Some(digest));
    assert_eq!(pinned.digest("config.json"), None);

    // The list answers these.
    assert_eq!(pinned.size("config.json").await, Ok(Some(1000)));
    assert_eq!(pinned.size("model.safetensors").await, Ok(None));
    let read = pinned.read("model.safetensors", 0..1).await;
    assert!(matches!(read, Err(SourceError::Missing { .. })), "{read:?}");
    let read = pinned.read("config.json", 0..1001).await;
    assert!(matches!(read, Err(SourceError::Short { .. })), "{read:?}");

    assert_eq!(
        pinned.read("in/model.safetensors", 5..300).await,
        Ok(file(5..300))
    );
    assert_eq!(
        server.matching("https"),
        [
            "https://hub.example/api/models/owner/name/revision/refs%2Fpr%2F1?blobs=true \
             Bearer hf_x"
                .to_owned(),
            format!(
                "https://hub.example/owner/name/resolve/{COMMIT}/in/model.safetensors Bearer hf_x"
            ),
        ]
    );
    assert_eq!(pinned.received(), 295);
}

#[wasm_bindgen_test]
async fn other_validators_are_no_change_and_another_commit_is() {
    let script = hub("if (!api) return part({ETag: `\"${attempt}\"`, 'Last-Modified': attempt});");
    let _server = Server::new(&script);
    let pinned = resolve(None)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    for start in [0, 100, 200] {
        assert!(pinned.read("config.json", start..start + 9).await.is_ok());
    }
    for header in [
        "{'X-Repo-Commit': 'ffffffffffffffffffffffffffffffffffffffff'}",
        "{'Content-Range': `bytes ${a}-${b - 1}/1001`}",
    ] {
        let script = hub(&format!("if (!api) return part({header});"));
        let server = Server::new(&script);
        let pinned = resolve(None)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let message = pinned
            .read("config.json", 0..9)
            .await
            .unwrap_err()
            .to_string();
        assert!(message.contains("has changed"), "{message}");
        assert_eq!(server.count("GET"), 2);
    }
}

#[wasm_bindgen_test]
async fn a_gated_repository_says_how_to_get_in() {
    for (token, words) in [
        (None, ["signed in", "paste an access token"]),
        (
            Some("hf_secret"),
            ["this access token", "account that the token belongs to"],
        ),
    ] {
        let _server = Server::new(&hub("if (!api) return new Response(null, {status: 401});"));
        let pinned = resolve(token)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let message = pinned
            .read("config.json", 0..9)
            .await
            .unwrap_err()
            .to_string();
        assert!(message.contains("https://hub.example/owner/name while") || token.is_some());
        assert!(
            message.contains("401") && message.contains("licence"),
            "{message}"
        );
        for word in words {
            assert!(message.contains(word), "{message}");
        }
        assert!(!message.contains("hf_s"), "{message}");
    }
}

#[wasm_bindgen_test]
async fn a_server_that_is_no_hub_is_told_what_it_lacks() {
    for (answer, word) in [
        ("new Response(null, {status: 404})", "no hub"),
        (
            "new Response('<!doctype html>', {headers: {'Content-Type': 'text/html'}})",
            "no hub",
        ),
        ("new Response('hello')", "not what a hub says"),
        ("Response.json({...list, sha: 'main'})", "sha"),
        (
            "Response.json({...list, siblings: [{rfilename: 'a'}]})",
            "without a length",
        ),
    ] {
        let server = Server::new(&hub(&format!("if (api) return {answer};")));
        let Err(error) = resolve(None).await else {
            panic!("{answer}");
        };
        let message = error.to_string();
        assert!(message.contains(word), "{message}");
        let url = "https://hub.example/api/models/owner/name/revision/refs%2Fpr%2F1?blobs=true";
        assert!(
            message.contains(url) && message.contains("mirror"),
            "{message}"
        );
        assert_eq!(server.count("GET"), 1);
    }
}

#[wasm_bindgen_test]
async fn a_list_comes_in_the_end_or_is_too_long() {
    let server = Server::new(&hub(
        "if (attempt < 2) return new Response(null, {status: 503});",
    ));
    assert!(resolve(None).await.is_ok());
    assert_eq!(server.count("GET"), 2);
    let endless = "return new Response(new ReadableStream({pull(c) { c.enqueue(new Uint8Array(1 << 20)); }}));";
    let server = Server::new(endless);
    let Err(error) = resolve(None).await else {
        panic!("an endless list");
    };
    assert!(error.to_string().contains("longer than"), "{error}");
    assert_eq!((server.count("GET"), server.count("abort")), (1, 1));
}
