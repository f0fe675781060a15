//! The bucket with the files of media.

use futures_util::StreamExt;
use worker::web_sys::ReadableStream;
use worker::{Bucket, ByteStream, Data, Env, MultipartUpload, Range, ResponseBody, UploadedPart};

use crate::storage::media_files::{FileError, FilePart};

/// Parts of a file whose length is not known beforehand: all but the last are equally large, and
/// the bucket takes none below 5 MiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

pub fn bucket(env: &Env) -> Result<Bucket, FileError> {
    env.bucket("MEDIA").map_err(failed)
}

pub async fn put_bytes(bucket: &Bucket, path: &str, bytes: Vec<u8>) -> Result<u64, FileError> {
    let length = bytes.len() as u64;
    bucket.put(path, bytes).execute().await.map_err(failed)?;
    Ok(length)
}

/// Stores a body as it comes.
pub async fn put_stream(
    bucket: &Bucket,
    path: &str,
    body: Option<ReadableStream>,
    length: Option<u64>,
    bytes_max: u64,
) -> Result<u64, FileError> {
    let Some(body) = body else {
        return put_bytes(bucket, path, Vec::new()).await;
    };
    let Some(length) = length else {
        return put_parts(bucket, path, body.into(), bytes_max).await;
    };
    if length > bytes_max {
        return Err(FileError::TooLarge);
    }
    let stored = bucket.put(path, Data::ReadableStream(body)).execute().await;
    stored.map_err(|error| FileError::BrokenOff(error.to_string()))?;
    Ok(length)
}

async fn put_parts(
    bucket: &Bucket,
    path: &str,
    mut body: ByteStream,
    bytes_max: u64,
) -> Result<u64, FileError> {
    let mut buffer = Vec::new();
    fill(&mut body, &mut buffer).await?;
    if buffer.len() < PART_BYTES {
        if buffer.len() as u64 > bytes_max {
            return Err(FileError::TooLarge);
        }
        return put_bytes(bucket, path, buffer).await;
    }
    let upload = bucket.create_multipart_upload(path).execute().await.map_err(failed)?;
    match upload_parts(&upload, &mut body, buffer, bytes_max).await {
        Ok((length, parts)) => {
            upload.complete(parts).await.map_err(failed)?;
            Ok(length)
        }
        Err(error) => {
            // Parts that stay behind are removed by the bucket itself after some days.
            let _ = upload.abort().await;
            Err(error)
        }
    }
}

async fn upload_parts(
    upload: &MultipartUpload,
    body: &mut ByteStream,
    mut buffer: Vec<u8>,
    bytes_max: u64,
) -> Result<(u64, Vec<UploadedPart>), FileError> {
    let (mut length, mut parts) = (0, Vec::new());
    while !buffer.is_empty() {
        fill(body, &mut buffer).await?;
        let rest = buffer.split_off(buffer.len().min(PART_BYTES));
        length += buffer.len() as u64;
        if length > bytes_max {
            return Err(FileError::TooLarge);
        }
        let number = u16::try_from(parts.len() + 1).map_err(|_| FileError::TooLarge)?;
        parts.push(upload.upload_part(number, buffer).await.map_err(failed)?);
        buffer = rest;
        fill(body, &mut buffer).await?;
    }
    Ok((length, parts))
}

/// Reads until the buffer holds a part, or the body has ended.
async fn fill(body: &mut ByteStream, buffer: &mut Vec<u8>) -> Result<(), FileError> {
    while buffer.len() < PART_BYTES {
        match body.next().await {
            Some(Ok(chunk)) => buffer.extend(chunk),
            Some(Err(error)) => return Err(FileError::BrokenOff(error.to_string())),
            None => break,
        }
    }
    Ok(())
}

pub async fn get(bucket: &Bucket, path: &str) -> Result<Option<Vec<u8>>, FileError> {
    let Some(object) = bucket.get(path).execute().await.map_err(failed)? else {
        return Ok(None);
    };
    let Some(body) = object.body() else { return Ok(None) };
    body.bytes().await.map(Some).map_err(failed)
}

/// Opens a part of a file as the body of an answer; `None` if there is no such file.
pub async fn open(bucket: &Bucket, part: &FilePart) -> Result<Option<ResponseBody>, FileError> {
    let mut request = bucket.get(part.path.as_str());
    if let Some((offset, length)) = part.range {
        request = request.range(Range::OffsetWithLength { offset, length });
    }
    let Some(object) = request.execute().await.map_err(failed)? else {
        return Ok(None);
    };
    let Some(body) = object.body() else { return Ok(None) };
    body.response_body().map(Some).map_err(failed)
}

/// The bucket deletes so many at once.
const DELETED_MAX: usize = 1_000;

pub async fn delete(bucket: &Bucket, paths: &[String]) -> Result<(), FileError> {
    for paths in paths.chunks(DELETED_MAX) {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        bucket.delete_multiple(paths).await.map_err(failed)?;
    }
    Ok(())
}

fn failed(error: worker::Error) -> FileError {
    FileError::Bucket(error.to_string())
}
