"""The settings of the whole process, a file for each subject; ``model`` puts them together."""
