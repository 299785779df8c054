import { double, type Numbers } from "./imported.ts";
import data from "./data.json";

const numbers: Numbers = data.numbers;
console.log("imported", numbers.map(double));
