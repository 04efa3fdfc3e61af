//! Sizes and single reads.

use paligemma_browser::http::HttpFolder;
use paligemma_checkpoint::{Source, SourceError};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::server::{Server, file, folder, reason};

#[wasm_bindgen_test]
async fn a_size_takes_one_request() {
    for script in [
        "return part();",
        "return new Response(null, {headers: {'Content-Length': '1000'}});",
        "return url === 'https://models.example/demo/file?key=1' ? part() : Response.error();",
    ] {
        let server = Server::new(script);
        assert_eq!(folder().size("file").await, Ok(Some(1000)), "{script}");
        assert_eq!(server.log(), ["HEAD 0..1", "abort"], "{script}");
    }
}

#[wasm_bindgen_test]
async fn a_server_that_dislikes_head_is_asked_otherwise() {
    for script in [
        "return head ? new Response(null, {status: 405}) : part();",
        "return head ? new Response(null, {status: 500}) : part();",
        "if (head) throw new TypeError('no'); return part();",
        "return head ? new Response(null) : part();",
        // Neither ranges nor a length: it is counted.
        "return head ? new Response(null) : streamed(200, {});",
    ] {
        let server = Server::new(script);
        assert_eq!(folder().size("file").await, Ok(Some(1000)), "{script}");
        assert_eq!(server.count("GET"), 1, "{script}");
    }
    let _server = Server::new(
        "return head ? new Response(null) : new Response(null, {status: 416, headers: {'Content-Range': 'bytes */0'}});",
    );
    assert_eq!(folder().size("file").await, Ok(Some(0)));
}

#[wasm_bindgen_test]
async fn what_is_not_there_has_no_size() {
    for script in [
        "return new Response(null, {status: 404});",
        "return new Response(null, {status: 410});",
        "return head ? new Response(null, {status: 405}) : new Response('no', {status: 404});",
        "return new Response('<!doctype html>', {headers: {'Content-Type': 'text/html'}});",
    ] {
        let _server = Server::new(script);
        assert_eq!(folder().size("file").await, Ok(None), "{script}");
        let read = folder().read("file", 0..5).await;
        assert!(
            matches!(read, Err(SourceError::Missing { .. })),
            "{script} {read:?}"
        );
    }
}

/// As object stores answer that let nobody list their files.
#[wasm_bindgen_test]
async fn what_is_denied_is_absent_where_a_model_can_do_without_it() {
    let server = Server::new(
        "log.push(`url ${url}`); \
         return url.includes('/config.json') ? part() : new Response(null, {status: 403});",
    );
    let source = folder();
    for file in ["manifest.json", "model.safetensors", "tokenizer.json"] {
        assert_eq!(source.size(file).await, Ok(None), "{file}");
    }
    // Whether the server lets one in was asked once.
    let asked = server.matching("url https://models.example/demo/config.json");
    assert_eq!(asked.len(), 1, "{asked:?}");
    for file in ["model.safetensors.index.json", "model-1.safetensors"] {
        let message = source.size(file).await.unwrap_err().to_string();
        for words in [file, "403", "whether the file is there at all"] {
            assert!(message.contains(words), "{words}: {message}");
        }
    }
    drop(server);

    // A server that lets nobody in is not one without files.
    for status in [401, 403] {
        let script = format!("return new Response(null, {{status: {status}}});");
        let _server = Server::new(&script);
        let denied = folder().size("manifest.json").await;
        assert!(
            matches!(denied, Err(SourceError::Denied { .. })),
            "{status} {denied:?}"
        );
    }
}

#[wasm_bindgen_test]
async fn a_range_is_read() {
    let server = Server::new("return part();");
    let folder = folder();
    assert_eq!(folder.read("file", 100..350).await, Ok(file(100..350)));
    assert_eq!(folder.read("file", 999..1000).await, Ok(file(999..1000)));
    assert_eq!(folder.read("file", 7..7).await, Ok(vec![]));
    assert_eq!(server.count("GET 100..350"), 1);
    assert_eq!(server.count("GET"), 2);
}

#[wasm_bindgen_test]
async fn a_range_is_read_though_its_header_is_hidden() {
    let _server = Server::new("return new Response(FILE.slice(a, b), {status: 206});");
    assert_eq!(folder().read("file", 100..350).await, Ok(file(100..350)));
}

#[wasm_bindgen_test]
async fn another_range_than_asked_is_refused() {
    let server = Server::new(
        "return new Response(FILE.slice(0, b - a), {status: 206, headers: {'Content-Range': `bytes 0-${b - a - 1}/1000`}});",
    );
    let reason = reason(folder().read("file", 100..350).await);
    assert!(
        reason.contains("bytes 0-249/1000") && reason.contains("100-349"),
        "{reason}"
    );
    assert_eq!(server.count("GET"), 1);
}

#[wasm_bindgen_test]
async fn more_than_asked_is_refused() {
    let server = Server::new("return streamed(206, {});");
    let reason = reason(folder().read("file", 0..250).await);
    assert!(reason.contains("more than was asked for"), "{reason}");
    // It has not waited for all of it.
    assert_eq!(server.count("chunk"), 3);
}

#[wasm_bindgen_test]
async fn of_a_whole_file_only_the_range_is_read() {
    let server = Server::new("return streamed(200, {});");
    let folder = folder();
    assert_eq!(folder.read("file", 250..420).await, Ok(file(250..420)));
    assert_eq!(server.log().last().unwrap(), "chunk 400");

    // Reading on needs no second request, wherever in the chunk the last read ended.
    assert_eq!(folder.read("file", 420..430).await, Ok(file(420..430)));
    assert_eq!(folder.read("file", 430..610).await, Ok(file(430..610)));
    assert_eq!(folder.read("file", 777..800).await, Ok(file(777..800)));
    assert_eq!(server.count("GET"), 1);
    assert_eq!(server.log().last().unwrap(), "chunk 700");
    assert_eq!(server.count("abort"), 0);

    // Reading back does, and so does another file; the transfer before is ended.
    assert_eq!(folder.read("file", 10..20).await, Ok(file(10..20)));
    assert_eq!((server.count("GET"), server.count("abort")), (2, 1));
    assert_eq!(folder.read("other", 20..30).await, Ok(file(20..30)));
    assert_eq!((server.count("GET"), server.count("abort")), (3, 2));
    drop(folder);
    assert_eq!(server.count("abort"), 3);
}

#[wasm_bindgen_test]
async fn what_may_pass_is_tried_again() {
    for script in [
        "return attempt < 2 ? new Response(null, {status: 503}) : part();",
        "return attempt < 2 ? new Response(null, {status: 429, headers: {'Retry-After': '0'}}) : part();",
        "if (attempt < 2) throw new TypeError('Failed to fetch'); return part();",
        // The connection breaks in the middle.
        "return attempt < 2 ? new Response(FILE.slice(a, b - 1), {status: 206}) : part();",
    ] {
        let server = Server::new(script);
        assert_eq!(
            folder().read("file", 0..9).await,
            Ok(file(0..9)),
            "{script}"
        );
        assert_eq!(server.count("GET"), 2, "{script}");
    }
}

#[wasm_bindgen_test]
async fn what_will_not_pass_is_not_tried_again() {
    for status in [401, 403, 416] {
        let server = Server::new(&format!("return new Response(null, {{status: {status}}});"));
        let reason = reason(folder().read("file", 0..9).await);
        assert!(
            status == 416 || reason.contains(&status.to_string()),
            "{reason}"
        );
        assert_eq!(server.count("GET"), 1, "{status}");
    }
}

#[wasm_bindgen_test]
async fn trying_again_comes_to_an_end() {
    let server = Server::new("throw new TypeError('Failed to fetch');");
    let reason = reason(folder().read("file", 0..9).await);
    assert!(
        reason.contains("Failed to fetch") && reason.contains("4 times"),
        "{reason}"
    );
    assert_eq!(server.count("GET"), 4);
}

#[wasm_bindgen_test]
async fn messages_keep_the_query_to_themselves() {
    let _server = Server::new("return new Response(null, {status: 403});");
    let message = folder().read("file", 0..9).await.unwrap_err().to_string();
    assert!(
        message.starts_with("https://models.example/demo/file could not"),
        "{message}"
    );
    assert!(!message.contains("key"), "{message}");
}

/// The server of this very test, which knows no ranges.
#[wasm_bindgen_test]
async fn a_real_server_is_read() {
    let scope: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    let folder = HttpFolder::new(&scope.origin()).unwrap();
    let size = folder
        .size("wasm-bindgen-test_bg.wasm")
        .await
        .unwrap()
        .unwrap();
    let first = folder
        .read("wasm-bindgen-test_bg.wasm", 0..4)
        .await
        .unwrap();
    assert_eq!(first, b"\0asm");
    let last = folder
        .read("wasm-bindgen-test_bg.wasm", size - 9..size)
        .await
        .unwrap();
    assert_eq!(last.len(), 9);
    assert_eq!(folder.size("not-there.safetensors").await, Ok(None));
}
