//! Files: taken, handed out, made small; previews of pages.

use std::io::Cursor;

use crate::support::{Account, Reply, SERVER_NAME, Server, platform};
use image::{DynamicImage, ImageFormat, RgbImage};
use myelin::storage::media_files::FileError;
use serde_json::{Value, json};

const UPLOAD: &str = "/_matrix/media/v3/upload";

fn send(
    server: &Server,
    method: &str,
    who: &Account,
    path: &str,
    body: &[u8],
    kind: &str,
) -> Reply {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .header("authorization", format!("Bearer {}", who.token));
    server.run(server.send(request.body(body.to_vec()).unwrap()))
}

fn get(server: &Server, who: &Account, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request =
        http::Request::builder().uri(path).header("authorization", format!("Bearer {}", who.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.run(server.send(request.body(Vec::new()).unwrap()))
}

/// Uploads a file; what follows `mxc://` in its address.
fn upload(server: &Server, who: &Account, query: &str, body: &[u8], kind: &str) -> String {
    let answer = send(server, "POST", who, &format!("{UPLOAD}{query}"), body, kind).ok();
    path_of(&answer)
}

fn path_of(answer: &Value) -> String {
    let uri = answer["content_uri"].as_str().unwrap();
    let path = uri.strip_prefix("mxc://").unwrap();
    assert!(path.starts_with(&format!("{SERVER_NAME}/")));
    path.to_owned()
}

fn download(path: &str) -> String {
    format!("/_matrix/client/v1/media/download/{path}")
}

fn thumbnail(path: &str, query: &str) -> String {
    format!("/_matrix/client/v1/media/thumbnail/{path}?{query}")
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = DynamicImage::from(RgbImage::new(width, height));
    picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

#[test]
fn a_file_comes_back_as_it_was() {
    let server = Server::new();
    let alice = server.register("alice");
    let path = upload(&server, &alice, "?filename=a%20b.txt", b"0123456789", "text/plain");
    let reply = get(&server, &alice, &download(&path), &[]);
    assert_eq!((reply.status, reply.bytes.as_slice()), (200, &b"0123456789"[..]));
    assert_eq!(reply.cost.round_trips.get(), 1);
    assert_eq!(header(&reply, "content-type"), "text/plain; charset=UTF-8");
    assert_eq!(header(&reply, "content-disposition"), "inline; filename=\"a b.txt\"");
    assert_eq!(header(&reply, "content-length"), "10");
    assert!(header(&reply, "content-security-policy").starts_with("sandbox; default-src 'none'"));
    assert_eq!(header(&reply, "cross-origin-resource-policy"), "cross-origin");
    let named = get(&server, &alice, &download(&format!("{path}/other.txt")), &[]);
    assert_eq!(header(&named, "content-disposition"), "inline; filename=other.txt");
    let etag = header(&reply, "etag").to_owned();
    let known = get(&server, &alice, &download(&path), &[("if-none-match", &etag)]);
    assert_eq!((known.status, known.bytes.len()), (304, 0));
}

#[test]
fn a_part_of_a_file_can_be_had() {
    let server = Server::new();
    let alice = server.register("alice");
    let path = upload(&server, &alice, "", b"0123456789", "video/mp4");
    let part = get(&server, &alice, &download(&path), &[("range", "bytes=2-4")]);
    assert_eq!((part.status, part.bytes.as_slice()), (206, &b"234"[..]));
    assert_eq!(header(&part, "content-range"), "bytes 2-4/10");
    assert_eq!(header(&part, "content-length"), "3");
    let beyond = get(&server, &alice, &download(&path), &[("range", "bytes=10-")]);
    assert_eq!((beyond.status, header(&beyond, "content-range")), (416, "bytes */10"));
}

#[test]
fn without_a_token_there_are_only_files_from_before_the_freeze() {
    let server = Server::new();
    let alice = server.register("alice");
    let path = upload(&server, &alice, "", b"x", "text/plain");
    server.get("", &download(&path)).error(401, "M_MISSING_TOKEN");
    let frozen = |path: &str| format!("/_matrix/media/v3/download/{path}");
    server.get("", &frozen(&path)).error(404, "M_NOT_FOUND");
    let later = Server::with(&[("MEDIA_FREEZE_TS", "1700000000001")]);
    let alice = later.register("alice");
    let path = upload(&later, &alice, "", b"x", "text/plain");
    assert_eq!(later.get("", &frozen(&path)).bytes, b"x");
    later.platform.advance(60_000);
    let path = upload(&later, &alice, "", b"x", "text/plain");
    later.get("", &frozen(&path)).error(404, "M_NOT_FOUND");
}

#[test]
fn limits_say_what_they_are() {
    let variables = [("MEDIA_FILE_BYTES_MAX", "10"), ("MEDIA_USER_BYTES_MAX", "25")];
    let server = Server::with(&variables);
    let alice = server.register("alice");
    let config = server.get(&alice, "/_matrix/client/v1/media/config").ok();
    assert_eq!(config, json!({ "m.upload.size": 10 }));
    send(&server, "POST", &alice, UPLOAD, &[0; 11], "x/y").error(413, "M_TOO_LARGE");
    for _ in 0..2 {
        upload(&server, &alice, "", &[0; 10], "x/y");
    }
    send(&server, "POST", &alice, UPLOAD, &[0; 6], "x/y").error(413, "M_TOO_LARGE");
    upload(&server, &alice, "", &[0; 5], "x/y");
    assert_eq!(server.platform.files.borrow().len(), 3);
    upload(&server, &server.register("bob"), "", &[0; 10], "x/y");
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let server = Server::new();
    let alice = server.register("alice");
    server.platform.file_error.replace(Some(FileError::BrokenOff("gone".to_owned())));
    send(&server, "POST", &alice, UPLOAD, b"x", "x/y").error(400, "M_UNKNOWN");
    assert_eq!(server.rows("SELECT * FROM local_media_repository"), Vec::<Value>::new());
    let created = server.post(&alice, "/_matrix/media/v1/create", json!({})).ok();
    let path = format!("{UPLOAD}/{}", path_of(&created));
    server.platform.file_error.replace(Some(FileError::BrokenOff("gone".to_owned())));
    send(&server, "PUT", &alice, &path, b"x", "x/y").error(400, "M_UNKNOWN");
    send(&server, "PUT", &alice, &path, b"whole", "x/y").ok();
    let reply = get(&server, &alice, &download(&path_of(&created)), &[]);
    assert_eq!(reply.bytes, b"whole");
}

#[test]
fn an_announced_file_is_waited_for() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let created = server.post(&alice, "/_matrix/media/v1/create", json!({})).ok();
    let path = path_of(&created);
    let expected = server.platform.context().now_ms() + 24 * 60 * 60 * 1000;
    assert_eq!(created["unused_expires_at"], expected);
    let early = format!("{}?timeout_ms=500", download(&path));
    server.get(&bob, &early).error(504, "M_NOT_YET_UPLOADED");
    let to = format!("{UPLOAD}/{path}");
    send(&server, "PUT", &bob, &to, b"his", "x/y").error(403, "M_FORBIDDEN");
    let waiting = server.request("GET", &bob, &download(&path), &Value::Null);
    let filling = server.request_bytes("PUT", &alice, &to, b"hers".to_vec());
    let both = async move {
        let fill = async {
            platform::give_way().await;
            filling.await
        };
        futures_util::future::join(waiting, fill).await
    };
    let (found, filled) = server.run(both);
    assert_eq!((filled.status, found.status, found.bytes.as_slice()), (200, 200, &b"hers"[..]));
    send(&server, "PUT", &alice, &to, b"again", "x/y").error(409, "M_CANNOT_OVERWRITE_MEDIA");
    let nowhere = format!("{UPLOAD}/{SERVER_NAME}/none");
    send(&server, "PUT", &alice, &nowhere, b"x", "x/y").error(404, "M_NOT_FOUND");
}

#[test]
fn of_several_uploads_to_one_id_one_wins() {
    let server = Server::new();
    let alice = server.register("alice");
    let created = server.post(&alice, "/_matrix/media/v1/create", json!({})).ok();
    let to = format!("{UPLOAD}/{}", path_of(&created));
    let puts = (0..8).map(|i| server.request_bytes("PUT", &alice, &to, vec![b'0' + i]));
    let puts: Vec<_> = puts.collect();
    let answers = server.run(futures_util::future::join_all(puts));
    let winner = answers.iter().position(|answer| answer.status == 200).unwrap();
    assert!(answers.iter().enumerate().all(|(i, answer)| i == winner || answer.status == 409));
    let found = get(&server, &alice, &download(&path_of(&created)), &[]);
    assert_eq!(found.bytes, [b'0' + winner as u8]);
}

#[test]
fn only_so_many_files_are_announced_and_they_expire() {
    let server = Server::new();
    let alice = server.register("alice");
    let create = || server.post(&alice, "/_matrix/media/v1/create", json!({}));
    let first = path_of(&create().ok());
    for _ in 1..5 {
        create().ok();
    }
    create().error(429, "M_LIMIT_EXCEEDED");
    server.platform.advance(24 * 60 * 60 * 1000 + 1);
    create().ok();
    send(&server, "PUT", &alice, &format!("{UPLOAD}/{first}"), b"x", "x/y")
        .error(404, "M_NOT_FOUND");
    server.get(&alice, &download(&first)).error(404, "M_NOT_FOUND");
}

#[test]
fn a_thumbnail_is_made_once() {
    let server = Server::new();
    let alice = server.register("alice");
    let path = upload(&server, &alice, "", &picture(800, 400, ImageFormat::Png), "image/png");
    let wanted = thumbnail(&path, "width=300&height=200&method=scale");
    let made = get(&server, &alice, &wanted, &[]);
    assert_eq!((made.status, header(&made, "content-type")), (200, "image/png"));
    let small = image::load_from_memory(&made.bytes).unwrap();
    assert_eq!((small.width(), small.height()), (320, 160));
    let rows = "SELECT thumbnail_width AS w, thumbnail_height AS h, thumbnail_method AS m
                FROM local_media_repository_thumbnails";
    assert_eq!(server.rows(rows), [json!({ "w": 320, "h": 160, "m": "scale" })]);
    server.platform.files.borrow_mut().retain(|path, _| path.starts_with("local_thumbnails/"));
    let kept = get(&server, &alice, &wanted, &[]);
    assert_eq!((kept.status, kept.bytes == made.bytes), (200, true));
    assert_eq!(kept.cost.round_trips.get(), 1);
}

#[test]
fn what_has_no_thumbnail_says_so() {
    let server = Server::new();
    let alice = server.register("alice");
    let text = upload(&server, &alice, "", b"text", "image/png");
    let wanted = thumbnail(&text, "width=32&height=32");
    server.get(&alice, &wanted).error(400, "M_UNKNOWN");
    for query in ["width=32", "height=32"] {
        server.get(&alice, &thumbnail(&text, query)).error(400, "M_MISSING_PARAM");
    }
    for query in ["width=0&height=1", "width=-1&height=1", "width=a&height=1"] {
        server.get(&alice, &thumbnail(&text, query)).error(400, "M_UNKNOWN");
    }
    server.get(&alice, &thumbnail(&text, "width=1&height=1&method=x")).error(400, "M_UNKNOWN");
    let none = format!("{SERVER_NAME}/none");
    server.get(&alice, &thumbnail(&none, "width=1&height=1")).error(404, "M_NOT_FOUND");
    server.get(&alice, &download("other.example/none")).error(404, "M_NOT_FOUND");
}

fn preview(server: &Server, who: &Account, url: &str) -> Reply {
    let url = url::form_urlencoded::byte_serialize(url.as_bytes()).collect::<String>();
    server.get(who, &format!("/_matrix/client/v1/media/preview_url?url={url}"))
}

#[test]
fn a_page_is_previewed_with_its_picture_and_remembered() {
    let server = Server::new();
    let alice = server.register("alice");
    let page = "<meta property=og:title content=Title><meta property=og:image content=/p.png>";
    let html = [("content-type", "text/html; charset=utf-8")];
    server.platform.internet.answer_with("https://site.example/page", 200, &html, page.as_bytes());
    let png = picture(40, 30, ImageFormat::Png);
    let kind = [("content-type", "image/png")];
    server.platform.internet.answer_with("https://site.example/p.png", 200, &kind, &png);
    let og = preview(&server, &alice, "https://site.example/page#place").ok();
    assert_eq!(og["og:title"], "Title");
    assert_eq!((&og["og:image:width"], &og["og:image:height"]), (&json!(40), &json!(30)));
    assert_eq!(og["matrix:image:size"], png.len());
    let uri = og["og:image"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    assert_eq!(get(&server, &alice, &download(uri), &[]).bytes, png);
    server.platform.internet.forget("https://site.example/page");
    assert_eq!(preview(&server, &alice, "https://site.example/page").ok(), og);
    server.platform.advance(2 * 60 * 60 * 1000);
    preview(&server, &alice, "https://site.example/page").error(502, "M_UNKNOWN");
}

#[test]
fn a_picture_and_a_page_with_oembed_are_previewed() {
    let server = Server::new();
    let alice = server.register("alice");
    let png = picture(40, 30, ImageFormat::Png);
    let internet = &server.platform.internet;
    internet.answer_with("https://site.example/p.png", 200, &[("content-type", "image/png")], &png);
    let og = preview(&server, &alice, "https://site.example/p.png").ok();
    assert_eq!((&og["og:image:type"], &og["og:image:width"]), (&json!("image/png"), &json!(40)));
    let page = "<link rel=alternate type=application/json+oembed href=/o>";
    let html = [("content-type", "text/html")];
    internet.answer_with("https://site.example/v", 200, &html, page.as_bytes());
    let json_kind = [("content-type", "application/json")];
    let oembed = br#"{"title":"Film","provider_name":"Site"}"#;
    internet.answer_with("https://site.example/o", 200, &json_kind, oembed);
    let og = preview(&server, &alice, "https://site.example/v").ok();
    assert_eq!((&og["og:title"], &og["og:site_name"]), (&json!("Film"), &json!("Site")));
}

#[test]
fn previews_reach_only_the_public_internet() {
    let server = Server::new();
    let alice = server.register("alice");
    for url in ["http://127.0.0.1/", "http://localhost/", "http://[::1]:8008/", "http://10.0.0.1/"]
    {
        preview(&server, &alice, url).error(403, "M_FORBIDDEN");
    }
    let internet = &server.platform.internet;
    let to = [("location", "http://169.254.169.254/latest/")];
    internet.answer_with("https://site.example/redirect", 302, &to, b"");
    preview(&server, &alice, "https://site.example/redirect").error(403, "M_FORBIDDEN");
    internet.answer_with("https://site.example/loop", 302, &[("location", "/loop")], b"");
    preview(&server, &alice, "https://site.example/loop").error(502, "M_UNKNOWN");
    let page = b"<meta property=og:image content=http://192.168.0.1/camera.png><title>T</title>";
    internet.answer_with("https://site.example/x", 200, &[("content-type", "text/html")], page);
    assert_eq!(preview(&server, &alice, "https://site.example/x").ok(), json!({ "og:title": "T" }));
    preview(&server, &alice, "nonsense").error(400, "M_INVALID_PARAM");
    server.get(&alice, "/_matrix/client/v1/media/preview_url").error(400, "M_MISSING_PARAM");
    let off = Server::with(&[("URL_PREVIEWS", "off")]);
    preview(&off, &off.register("alice"), "https://site.example/").error(404, "M_UNRECOGNIZED");
}
