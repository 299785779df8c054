// A thread for each connection, and nothing but the standard library.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut line, mut length, mut closes) = (String::new(), 0, false);
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_string());
        let method = method.to_string();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            closes |= header == "connection: close";
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let text = match (path.as_str(), length) {
            ("/large", _) => "l".repeat(300_000),
            (_, 0) => format!("{method} {path}\n"),
            _ => format!("{method} {path} {length}\n"),
        };
        let connection = if closes { "Connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{connection}\r\n", text.len());
        writer.write_all(head.as_bytes())?;
        writer.write_all(text.as_bytes())?;
        if closes {
            return Ok(());
        }
    }
}

fn main() {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    for stream in TcpListener::bind(("127.0.0.1", port)).unwrap().incoming() {
        std::thread::spawn(move || stream.map(serve));
    }
}
