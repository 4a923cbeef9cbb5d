//! How the door on this machine refuses what a web page can have asked for.

use axum::{
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use lapwing::status::Kind;
use serde_json::json;

/// The answer to a request with these headers, in the form that its client reads.
pub fn refused(reason: &str, headers: &HeaderMap) -> Response {
    if headers.get(CONTENT_TYPE).is_some_and(|kind| is_grpc(kind.as_bytes())) {
        return Kind::PermissionDenied.status(reason).into_http();
    }
    let body = json!({ "error": { "reason": Kind::PermissionDenied.reason(), "message": reason } });
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn is_grpc(kind: &[u8]) -> bool {
    // gRPC-web is answered over HTTP, where a browser reads the refusal.
    kind.starts_with(b"application/grpc") && !kind.starts_with(b"application/grpc-web")
}
