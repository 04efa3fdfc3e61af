//! What a good server answers.

use paligemma_tests::server::{Content, Cors, Repository, Server};

use crate::{ask, some_bytes};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn a_file_and_parts_of_it() {
    let server = Server::start();
    let bytes = some_bytes(200_000);
    server.put("/m/a b.bin", bytes.clone());
    let url = server.url("/m/a%20b.bin");

    let all = ask(&url, "GET", &[]);
    assert_eq!((all.status, &all.body), (200, &bytes));
    assert_eq!(all.header("content-length"), "200000");

    let part = ask(&url, "GET", &["Range: bytes=100-70099"]);
    assert_eq!((part.status, &part.body[..]), (206, &bytes[100..70_100]));
    assert_eq!(part.header("content-range"), "bytes 100-70099/200000");

    let rest = ask(&url, "GET", &["Range: bytes=199990-"]);
    assert_eq!((rest.status, &rest.body[..]), (206, &bytes[199_990..]));
    assert_eq!(rest.header("content-range"), "bytes 199990-199999/200000");

    let beyond = ask(&url, "GET", &["Range: bytes=200000-"]);
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), "bytes */200000");

    let head = ask(&url, "HEAD", &["Range: bytes=0-0"]);
    assert_eq!((head.status, head.body.len()), (206, 0));
    assert_eq!(head.header("content-range"), "bytes 0-0/200000");

    assert_eq!(ask(&server.url("/m/b"), "GET", &[]).status, 404);
    assert_eq!(ask(&url, "POST", &[]).status, 405);

    let requests = server.requests_for("a b.bin");
    let ranges: Vec<_> = requests.iter().map(|request| request.range()).collect();
    assert_eq!(
        ranges,
        [
            None,
            Some((100, Some(70_099))),
            Some((199_990, None)),
            Some((200_000, None)),
            Some((0, Some(0))),
            None
        ]
    );
    assert_eq!(server.sent("m/a b.bin"), 200_000 + 70_000 + 10);
    assert_eq!(requests[1].status, 206);
}

#[test]
fn content_from_a_file_and_from_a_function() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("in/a.bin"), some_bytes(5000)).unwrap();
    let server = Server::start();
    server.put_folder("/m", folder.path());
    let twice = Content::generated(100_000, None, |range| {
        range.map(|i| (2 * i % 256) as u8).collect()
    });
    server.put("/twice", twice);

    let part = ask(&server.url("/m/in/a.bin"), "GET", &["Range: bytes=7-9"]);
    assert_eq!(part.body, [7, 8, 9]);
    let part = ask(&server.url("/twice"), "GET", &["Range: bytes=65535-65537"]);
    assert_eq!(part.body, [254, 0, 2]);
}

#[test]
fn another_version_has_other_validators() {
    let server = Server::start();
    server.put("/a", "one");
    let first = ask(&server.url("/a"), "GET", &[]);
    server.put("/a", "two");
    let second = ask(&server.url("/a"), "GET", &[]);
    for name in ["etag", "last-modified"] {
        assert!(!first.header(name).is_empty());
        assert_ne!(first.header(name), second.header(name), "{name}");
    }
    server.remove("/a");
    assert_eq!(ask(&server.url("/a"), "GET", &[]).status, 404);
}

#[test]
fn a_hub() {
    let cdn = Server::start();
    let hub = Server::start();
    let weights = some_bytes(1000);
    let repository = Repository::new("owner/name", COMMIT)
        .with("config.json", "{}")
        .with("model.safetensors", weights.clone())
        .gated_by("hf_x")
        .delivered_by(&cdn.url(""));
    for (file, content) in repository.files() {
        cdn.put(&repository.path_of(file), content.clone());
    }
    hub.put_repository(repository);

    // Anybody may see the list.
    let list = hub.url("/api/models/owner/name/revision/main?blobs=true");
    let list: serde_json::Value = serde_json::from_slice(&ask(&list, "GET", &[]).body).unwrap();
    assert_eq!(list["sha"], COMMIT);
    assert_eq!(list["gated"], "manual");
    let files = list["siblings"].as_array().unwrap();
    assert_eq!(files[0]["rfilename"], "config.json");
    assert_eq!(files[0]["size"], 2);
    assert_eq!(files[1]["lfs"]["size"], 1000);
    // By Python's hashlib, of 1000 bytes that count up to 250 again and again.
    assert_eq!(
        files[1]["lfs"]["sha256"],
        "4e4c294b331f7a2099a379bec34b9f9fc03dc46ab465d998f4d683da53487e6d"
    );
    let unknown = hub.url("/api/models/owner/name/revision/other?blobs=true");
    assert_eq!(ask(&unknown, "GET", &[]).status, 404);

    // The files are for who has the token.
    let config = hub.url("/owner/name/resolve/main/config.json");
    assert_eq!(ask(&config, "GET", &[]).status, 401);
    assert_eq!(
        ask(&config, "GET", &["Authorization: Bearer hf_y"]).status,
        401
    );
    let given = ask(&config, "GET", &["Authorization: Bearer hf_x"]);
    assert_eq!((given.status, &given.body[..]), (200, &b"{}"[..]));
    assert_eq!(given.header("x-repo-commit"), COMMIT);

    // Large ones come from elsewhere.
    let path = format!("/owner/name/resolve/{COMMIT}/model.safetensors");
    let sent_on = ask(&hub.url(&path), "GET", &["Authorization: Bearer hf_x"]);
    assert_eq!(sent_on.status, 302);
    assert_eq!(sent_on.header("location"), cdn.url(&path));
    assert_eq!(ask(sent_on.header("location"), "GET", &[]).body, weights);
    assert_eq!(cdn.requests().len(), 1);
    let with_token = hub.requests_for("model.safetensors");
    assert_eq!(with_token[0].headers["authorization"], "Bearer hf_x");
}

#[test]
fn what_other_origins_may_see() {
    let server = Server::start();
    server.put("/a", "one");
    let see = || {
        let answer = ask(&server.url("/a"), "GET", &[]);
        let exposed = answer.header("access-control-expose-headers").to_owned();
        (
            answer.header("access-control-allow-origin").to_owned(),
            exposed,
        )
    };
    let (origin, exposed) = see();
    assert_eq!(origin, "*");
    assert!(exposed.contains("Content-Range"), "{exposed}");
    server.set_cors(Cors::Bodies);
    assert_eq!(see(), ("*".to_owned(), String::new()));
    let asked = ask(&server.url("/a"), "OPTIONS", &[]);
    assert_eq!(asked.status, 204);
    let allowed = asked.header("access-control-allow-headers");
    assert!(allowed.contains("authorization"), "{allowed}");
    server.set_cors(Cors::Nothing);
    assert_eq!(see(), (String::new(), String::new()));
}

#[test]
fn a_page_beside_the_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<!doctype html>").unwrap();
    let server = Server::start();
    server.put_pages(folder.path());
    server.put("/m/a", "one");
    let page = ask(&server.url("/"), "GET", &[]);
    assert_eq!(page.body, b"<!doctype html>");
    assert_eq!(page.header("content-type"), "text/html");
    assert_eq!(ask(&server.url("/m/a"), "GET", &[]).body, b"one");
}

#[test]
fn a_server_goes_and_comes_back() {
    let mut server = Server::start();
    server.put("/a", "one");
    let url = server.url("/a");
    assert_eq!(ask(&url, "GET", &[]).body, b"one");
    server.stop();
    let host = url.strip_prefix("http://").unwrap().split('/').next();
    assert!(std::net::TcpStream::connect(host.unwrap()).is_err());
    server.start_again();
    assert_eq!(server.url("/a"), url);
    assert_eq!(ask(&url, "GET", &[]).body, b"one");
}
