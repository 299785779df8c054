/** A Worker that answers one message, as a request would be answered. */
declare const self: Worker;
self.onmessage = () => self.postMessage(1);
