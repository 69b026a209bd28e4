//! Tests of the program from outside: command lines in, requests and output out.

mod dead_letters;
mod doctor;
mod send;
mod support;
