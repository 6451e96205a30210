use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((command, rest)) if command == "bench" => exit(ironkeeper::tools::bench::main(rest)),
        _ => println!("ironkeeper {}", env!("CARGO_PKG_VERSION")),
    }
}
