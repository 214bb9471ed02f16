// One runtime in a frame of its own: its threads, memory and settings end with the frame.

import { openEngine } from "./engines.js";

window.openEngine = openEngine;
