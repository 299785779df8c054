import data from "./data.json";
import { double, type Numbers } from "./imported.ts";

const numbers: Numbers = data.numbers;
console.log("imported", numbers.map(double));
