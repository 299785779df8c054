// Threads, channels and locks of Rust's standard library; panics that are caught, and one that is not.
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel, RecvTimeoutError};
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock};
use std::time::{Duration, Instant};
use std::{panic, thread};

thread_local!(static OWN: RefCell<usize> = RefCell::new(7));
static ONCE: Once = Once::new();
static INITIALIZED: AtomicUsize = AtomicUsize::new(0);

fn locks() {
    let total = Arc::new(Mutex::new(0));
    let threads: Vec<_> = (0..50)
        .map(|_| {
            let total = total.clone();
            thread::spawn(move || (0..200).for_each(|_| *total.lock().unwrap() += 1))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("total {}", total.lock().unwrap());
    let pair = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        for own in 0..3 {
            let pair = &pair;
            scope.spawn(move || {
                for _ in 0..200 {
                    let mut turn = pair.1.wait_while(pair.0.lock().unwrap(), |turn| *turn % 3 != own).unwrap();
                    *turn += 1;
                    pair.1.notify_all();
                }
            });
        }
    });
    println!("turns {}", pair.0.lock().unwrap());
    let (_guard, timeout) = pair.1.wait_timeout(pair.0.lock().unwrap(), Duration::from_millis(10)).unwrap();
    println!("timed out {}", timeout.timed_out());
    let map = RwLock::new(HashMap::new());
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for i in 0..4 {
            let (map, barrier) = (&map, &barrier);
            scope.spawn(move || {
                ONCE.call_once(|| {
                    INITIALIZED.fetch_add(1, Ordering::SeqCst);
                });
                OWN.with(|own| *own.borrow_mut() += i);
                map.write().unwrap().insert(i, OWN.with(|own| *own.borrow()));
                barrier.wait();
                assert_eq!(map.read().unwrap().len(), 4);
            });
        }
    });
    let mut entries: Vec<_> = map.into_inner().unwrap().into_iter().collect();
    entries.sort();
    println!("{:?} {} {}", entries, OWN.with(|own| *own.borrow()), INITIALIZED.load(Ordering::SeqCst));
}

fn channels() {
    let (sender, receiver) = channel();
    for i in 0..10 {
        let sender = sender.clone();
        thread::spawn(move || (0..100).for_each(|k| sender.send(i * 100 + k).unwrap()));
    }
    drop(sender);
    println!("sum {}", receiver.iter().sum::<i32>());
    let (sender, receiver) = sync_channel(0);
    let thread = thread::spawn(move || (0..20).map(|i| sender.send(i).is_ok()).filter(|sent| *sent).count());
    println!("{:?}", receiver.iter().take(5).collect::<Vec<i32>>());
    drop(receiver);
    println!("sent {}", thread.join().unwrap());
    let (_sender, receiver) = channel::<()>();
    println!("{:?}", receiver.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout));
}

fn sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(20) {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                stream.write_all(text.to_uppercase().as_bytes()).unwrap();
            });
        }
    });
    let texts: Vec<_> = (0..20)
        .map(|i| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                write!(stream, "client {i}").unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                text
            })
        })
        .map(|thread| thread.join().unwrap())
        .collect();
    server.join().unwrap();
    println!("{} {}", texts[0], texts[19]);
}

fn main() {
    locks();
    channels();
    sockets();
    let parked = thread::spawn(|| {
        let start = Instant::now();
        thread::park_timeout(Duration::from_millis(10));
        start.elapsed() >= Duration::from_millis(9)
    });
    println!("parked {}", parked.join().unwrap());
    panic::set_hook(Box::new(|info| println!("panic: {}", info.to_string().lines().last().unwrap_or(""))));
    let caught = panic::catch_unwind(|| {
        let empty: Vec<i32> = Vec::new();
        empty[std::env::args().count()]
    });
    println!("caught {}", caught.is_err());
    let failed = thread::Builder::new().name("worker".into()).spawn(|| panic!("in a thread")).unwrap().join();
    println!("{:?}", failed.unwrap_err().downcast_ref::<&str>());
    let poisoned = Arc::new(Mutex::new(0));
    let other = poisoned.clone();
    let _ = thread::spawn(move || {
        let _guard = other.lock();
        panic!("with a lock");
    })
    .join();
    println!("poisoned {}", poisoned.is_poisoned());
    let _ = panic::take_hook();
    panic!("not caught");
}
