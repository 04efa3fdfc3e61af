//! A file that is read through flows from one answer.

use paligemma_checkpoint::{Source, SourceError};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::server::{Server, file, folder};

const MIB: usize = 1 << 20;
const SIZE: u32 = 4 << 20;

async fn read(source: &impl Source, range: std::ops::Range<usize>) {
    let bytes = source
        .read("file", range.start as u64..range.end as u64)
        .await;
    assert!(bytes.as_ref() == Ok(&file(range.clone())), "{range:?}");
}

#[wasm_bindgen_test]
async fn reading_through_takes_one_request() {
    let server = Server::of(SIZE, "return flowing();");
    let folder = folder();
    assert_eq!(folder.size("file").await, Ok(Some(4 << 20)));
    // A header: its length, and itself.
    read(&folder, 0..8).await;
    read(&folder, 8..5000).await;
    for start in [5000, 5000 + MIB, 5000 + 2 * MIB] {
        read(&folder, start..start + MIB).await;
    }
    // What is left is short, and comes from the same answer.
    read(&folder, 5000 + 3 * MIB..4 * MIB).await;
    let gets = server.matching("GET");
    assert_eq!(gets, ["GET 0..8", "GET 8..5000", "GET 5000..4194304"]);
    assert_eq!(folder.received(), 4 << 20);
}

#[wasm_bindgen_test]
async fn without_a_known_length_the_rest_is_asked_for() {
    let server = Server::of(SIZE, "return flowing();");
    let folder = folder();
    read(&folder, 0..MIB).await;
    read(&folder, MIB..4 * MIB).await;
    assert_eq!(server.matching("GET"), ["GET 0.."]);
}

#[wasm_bindgen_test]
async fn a_slow_reader_slows_the_server() {
    let server = Server::of(SIZE, "return flowing();");
    let folder = folder();
    read(&folder, 0..MIB).await;
    // Sixteen chunks of 64 KiB, and none in advance.
    assert_eq!(server.count("chunk"), 16);
    read(&folder, MIB..MIB + 1).await;
    assert_eq!(server.count("chunk"), 17);
}

#[wasm_bindgen_test]
async fn short_gaps_are_read_over_and_long_ones_are_not() {
    let server = Server::of(SIZE, "return flowing();");
    let folder = folder();
    read(&folder, 0..MIB).await;
    read(&folder, MIB + 70_000..MIB + 80_000).await;
    assert_eq!((server.count("GET"), server.count("abort")), (1, 0));
    read(&folder, 3 * MIB..3 * MIB + 10).await;
    // The first answer is given up; the second, which is used up, is let go the same way.
    assert_eq!((server.count("GET"), server.count("abort")), (2, 2));
    assert_eq!(server.matching("GET")[1], "GET 3145728..3145738");
}

#[wasm_bindgen_test]
async fn another_file_ends_the_transfer() {
    let server = Server::of(SIZE, "return flowing();");
    let folder = folder();
    read(&folder, 0..MIB).await;
    assert_eq!(
        folder.read("other", MIB as u64..MIB as u64 + 3).await,
        Ok(file(MIB..MIB + 3))
    );
    assert_eq!((server.count("GET"), server.count("abort")), (2, 2));
}

#[wasm_bindgen_test]
async fn a_server_may_give_less_at_a_time() {
    // As some delivery networks do, in parts of at most 1,000,000 bytes.
    let script = "const c = Math.min(b, a + 1000000); \
        return head ? part() : streamed(206, {'Content-Range': `bytes ${a}-${c - 1}/${SIZE}`}, \
            {from: a, to: c, chunk: 65536});";
    let server = Server::of(SIZE, script);
    let folder = folder();
    read(&folder, 0..4 * MIB).await;
    assert_eq!(server.count("GET"), 5);
    assert_eq!(folder.received(), 4 << 20);
}

#[wasm_bindgen_test]
async fn reading_past_the_end_is_noticed() {
    for script in [
        "return flowing();",
        "return streamed(200, {'Content-Length': SIZE});",
    ] {
        let server = Server::of(SIZE, script);
        let past = folder().read("file", 3 << 20..5 << 20).await;
        match past {
            Err(SourceError::Short { wanted, got, .. }) => {
                assert_eq!((wanted, got), (2 << 20, 1 << 20), "{script}");
            }
            other => panic!("{script} {other:?}"),
        }
        assert_eq!(server.count("GET"), 1);
    }
    let script =
        "return new Response(null, {status: 416, headers: {'Content-Range': `bytes */${SIZE}`}});";
    let server = Server::of(SIZE, script);
    let past = folder().read("file", 4 << 20..5 << 20).await;
    assert!(matches!(past, Err(SourceError::Failed { .. })), "{past:?}");
    assert_eq!(server.count("GET"), 1);
}
