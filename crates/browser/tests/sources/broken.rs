//! What has arrived stays; what has not is asked for again, from its first byte on.

use js_sys::{Function, Reflect};
use paligemma_browser::http::Token;
use paligemma_checkpoint::{Source, SourceError};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::server::{Server, file, folder, hasty, reason};

const SIZE: u32 = 4 << 20;

/// The whole file, in pieces of 1 MiB.
async fn read_through(source: &impl Source) -> Result<Vec<u8>, SourceError> {
    let mut all = Vec::new();
    for start in (0..u64::from(SIZE)).step_by(1 << 20) {
        all.extend(source.read("file", start..start + (1 << 20)).await?);
    }
    Ok(all)
}

#[wasm_bindgen_test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    for fault in ["cut", "stall", "end"] {
        for after in [0, 1, 65_536, 700_001, 1 << 20, SIZE - 1] {
            let script = format!("return flowing(gets === 1 ? {{{fault}: {after}}} : {{}});");
            let server = Server::of(SIZE, &script);
            let folder = hasty();
            let all = read_through(&folder).await;
            let what = format!("{fault} after {after}");
            assert!(
                all.as_ref() == Ok(&file(0..SIZE as usize)),
                "{what} {:?}",
                all.err()
            );
            assert_eq!(
                server.matching("GET"),
                ["GET 0..".to_owned(), format!("GET {after}..{SIZE}")],
                "{what}"
            );
            // Not a byte more than there is.
            assert_eq!(folder.received(), u64::from(SIZE), "{what}");
        }
    }
}

#[wasm_bindgen_test]
async fn attempts_are_counted_from_the_last_byte_that_came() {
    // Far more breaks than attempts, but each time something has come.
    let server = Server::of(SIZE, "return flowing({cut: 300000});");
    let folder = hasty();
    let all = read_through(&folder).await;
    assert!(all == Ok(file(0..SIZE as usize)), "{:?}", all.err());
    assert_eq!(server.count("GET"), (SIZE as usize).div_ceil(300_000));
    assert_eq!(folder.received(), u64::from(SIZE));

    // A break and three times nothing are enough.
    let server = Server::of(SIZE, "return flowing({cut: gets === 1 ? 300000 : 0});");
    let why = reason(read_through(&hasty()).await);
    assert!(why.contains("network error"), "{why}");
    assert_eq!(server.count("GET"), 1 + 3);
}

#[wasm_bindgen_test]
async fn a_server_that_falls_silent_is_left() {
    let server = Server::of(SIZE, "return flowing({stall: 0});");
    let why = reason(read_through(&hasty()).await);
    assert!(why.contains("nothing came for 0.1 s"), "{why}");
    assert!(why.contains("4 times"), "{why}");
    assert_eq!((server.count("GET"), server.count("abort")), (4, 4));

    // Before the answer's head, too.
    let script = "return new Promise((_, reject) => \
        init.signal.addEventListener('abort', () => reject(new DOMException('a', 'AbortError'))));";
    let server = Server::of(SIZE, script);
    let why = reason(hasty().read("file", 0..9).await);
    assert!(why.contains("nothing came"), "{why}");
    assert_eq!(server.count("GET"), 4);
}

#[wasm_bindgen_test]
async fn a_server_without_ranges_is_read_again_from_the_beginning() {
    let script = "return head ? new Response(null, {headers: {'Content-Length': SIZE}}) : \
        streamed(200, {'Content-Length': SIZE}, {chunk: 65536, cut: gets === 1 ? 2000000 : undefined});";
    let server = Server::of(SIZE, script);
    let folder = hasty();
    let all = read_through(&folder).await;
    assert!(all == Ok(file(0..SIZE as usize)), "{:?}", all.err());
    assert_eq!(server.count("GET"), 2);
    // There is no other way.
    assert_eq!(folder.received(), 2_000_000 + u64::from(SIZE));
}

#[wasm_bindgen_test]
async fn a_whole_file_instead_of_its_rest_is_passed_over() {
    // The second answer, and only it, is the whole file.
    let script = "return gets === 2 ? streamed(200, {'Content-Length': SIZE}, {chunk: 65536}) \
        : flowing({cut: gets === 1 ? 2000000 : undefined});";
    let server = Server::of(SIZE, script);
    let folder = hasty();
    let all = read_through(&folder).await;
    assert!(all == Ok(file(0..SIZE as usize)), "{:?}", all.err());
    assert_eq!(server.count("GET"), 2);
    assert_eq!(folder.received(), 2_000_000 + u64::from(SIZE));
}

#[wasm_bindgen_test]
async fn another_range_is_never_mixed_in() {
    // 206 from another place.
    let script = "return gets === 1 ? flowing({cut: 2000000}) : streamed(206, \
        {'Content-Range': `bytes 0-${SIZE - 1}/${SIZE}`}, {chunk: 65536});";
    let server = Server::of(SIZE, script);
    let why = reason(read_through(&hasty()).await);
    assert!(why.contains("bytes 0-4194303/4194304"), "{why}");
    assert!(why.contains("2000000"), "{why}");
    assert_eq!((server.count("GET"), server.count("abort")), (2, 2));
}

#[wasm_bindgen_test]
async fn without_a_network_the_message_says_so() {
    let _server = Server::of(SIZE, "throw new TypeError('Failed to fetch');");
    let set = "Object.defineProperty(navigator, 'onLine', {get: () => false, configurable: true})";
    Function::new_no_args(set).call0(&JsValue::NULL).unwrap();
    let why = reason(hasty().read("file", 0..9).await);
    let navigator = Reflect::get(&js_sys::global(), &JsValue::from_str("navigator")).unwrap();
    let own = navigator.into();
    Reflect::delete_property(&own, &JsValue::from_str("onLine")).unwrap();
    assert!(why.contains("this device is offline"), "{why}");
}

/// Of a server that answers to everybody but lets no other site read what, browsers say the same as
/// of one that is gone.
#[wasm_bindgen_test]
async fn a_server_that_lets_no_page_read_it_is_not_waited_for() {
    let answered = "if (init.mode !== 'no-cors') throw new TypeError('Failed to fetch'); \
                    return new Response(null);";
    let server = Server::of(SIZE, answered);
    let folder = hasty();
    for error in [
        folder.read("file", 0..9).await.unwrap_err(),
        folder.size("file").await.unwrap_err(),
    ] {
        assert!(matches!(error, SourceError::Blocked { .. }), "{error}");
        let error = error.to_string();
        for words in ["CORS", "Access-Control-Allow-Origin", "choose them"] {
            assert!(error.contains(words), "{error}");
        }
    }
    assert!(server.count("GET") <= 4, "{:?}", server.log());
    drop(server);

    // It let something be read before: this is something else.
    let server = Server::of(
        SIZE,
        "if (init.mode === 'no-cors') return new Response(null); \
         if (gets > 1) throw new TypeError('Failed to fetch'); return part();",
    );
    let folder = hasty();
    assert_eq!(folder.read("file", 0..9).await, Ok(file(0..9)));
    let why = reason(folder.read("file", 100_000..100_009).await);
    assert!(why.contains("Failed to fetch"), "{why}");
    assert_eq!(server.count("GET"), 5);
}

#[wasm_bindgen_test]
async fn a_token_is_sent_in_its_header_and_shown_nowhere() {
    let script = "log.push(`token ${init.headers.get('Authorization')}`); \
        if (url.includes('hf_s')) throw new Error('in the URL'); \
        return url.includes('/open') ? part() : new Response(null, {status: 403});";
    let server = Server::new(script);
    let folder = folder().with_token(Some(Token::new("hf_secret").unwrap()));
    assert_eq!(folder.size("open").await, Ok(Some(1000)));
    assert_eq!(folder.read("open", 0..9).await, Ok(file(0..9)));
    let sent = server.matching("token");
    assert_eq!(sent, ["token Bearer hf_secret"; 2]);
    let message = folder.read("file", 0..9).await.unwrap_err().to_string();
    assert!(
        message.contains("403") && !message.contains("hf_s"),
        "{message}"
    );

    let plain = crate::server::folder();
    assert_eq!(plain.read("open", 0..9).await, Ok(file(0..9)));
    assert_eq!(server.matching("token").last().unwrap(), "token null");
}
