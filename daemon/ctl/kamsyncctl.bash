# Bash completion for kamsyncctl. Needs bash alone.

# Sets COMPREPLY to those of the words that begin with the text.
_kamsyncctl_offer() {
    local text=$1
    shift
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "$text")
}

# Sets COMPREPLY to file names, which may have blanks.
_kamsyncctl_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# The command among the words before the cursor; values of options are passed over.
_kamsyncctl_command() {
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -s | --socket | -n | --count | --export | --node | --state | --caller | --callee | --limit | --kamailio) ((i++)) ;;
            -*) ;;
            *)
                echo "${COMP_WORDS[i]}"
                return
                ;;
        esac
    done
}

_kamsyncctl() {
    local text=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command options
    command=$(_kamsyncctl_command)
    COMPREPLY=()
    case $before in
        -s | --socket | --export | --kamailio) _kamsyncctl_files "$text"; return ;;
        --state) _kamsyncctl_offer "$text" trying ringing answered ended; return ;;
        -n | --count | --node | --caller | --callee | --limit) return ;;
    esac
    options="--socket --json --help --version"
    case $command in
        calls) options+=" --node --state --caller --callee --limit --watch" ;;
        drain) options+=" --evacuate --status" ;;
        cdr) options+=" --count --follow --export --csv" ;;
        doctor) options+=" --kamailio" ;;
    esac
    case $text in
        -*) _kamsyncctl_offer "$text" "$options" ;;
        *) [ -n "$command" ] ||
            _kamsyncctl_offer "$text" status nodes calls call tx cdr trace key doctor drain undrain reload ;;
    esac
}

complete -F _kamsyncctl kamsyncctl
