// nothing does nothing: what it costs to start is the least that any program costs.
package main

func main() {}
